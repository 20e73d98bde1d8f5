// A row of the target, in any dtype and layout, becomes one byte per pixel, which serves all
// channels of a tile.
//
//     label map, channels 2 to 4     labels  2  4  0  3  255      (ignore_index 255)
//                                    codes   0  2  -  1  x        - no class, x invalid
//
// Channel c of the tile is foreground where the code is c, invalid where it is x, and background
// elsewhere. Masks differ between channels, so their tiles have one channel.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <type_traits>
#include <utility>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../memory/strided-inl.h"
#include "../vector/half_floats-inl.h"
#include "tiles.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

constexpr uint8_t kNoClass = 254;
constexpr uint8_t kInvalidPixel = 255;

inline int64_t most_channels_of_tile(const Target& target) {
  return target.is_masks ? 1 : kMostClasses;
}

// Where a row of pixels begins, and how many they are.
struct PixelRow {
  int64_t batch = 0;
  int64_t outer = 0;
  int64_t middle = 0;
  int64_t inner = 0;
  int64_t count = 0;
};

// Writes to codes[i] the code of the row's i-th pixel for the channels of its tile. With
// target.validate, values that are not permitted are reported to `fault`. Defined in
// read_class_codes-inl.h, and compiled once for all kernels.
void read_class_codes(const Target& target, const Geometry& geometry, Span channels,
                      const PixelRow& row, uint8_t* codes, Fault& fault);

inline int64_t bytes_of(TargetType type) {
  switch (type) {
    case TargetType::kBool:
    case TargetType::kUInt8:
    case TargetType::kInt8:
      return 1;
    case TargetType::kUInt16:
    case TargetType::kInt16:
    case TargetType::kFloat16:
    case TargetType::kBFloat16:
      return 2;
    case TargetType::kUInt32:
    case TargetType::kInt32:
    case TargetType::kFloat32:
      return 4;
    case TargetType::kUInt64:
    case TargetType::kInt64:
    case TargetType::kFloat64:
      return 8;
  }
  return 1;
}

// Prefetches the labels or masks of a row that is read soon; it may lie outside of the image.
inline void fetch_class_codes(const Target& target, Span channels, const PixelRow& row) {
  const int64_t bytes = bytes_of(target.type);
  const char* labels =
      static_cast<const char*>(target.data) +
      bytes * target.strides.offset(row.batch, channels.begin, row.outer, row.middle, row.inner);
  fetch_ahead(labels, row.count * bytes, target.strides.axis[kInner]);
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
