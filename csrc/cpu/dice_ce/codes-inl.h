// The codes of a tile's interior for every class, as the loss reads them: flat like the penalized
// planes. Indices between the rows are invalid, so that they count for nothing.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/plane_layout-inl.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"
#include "pixel_loss-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// The codes of a plane for every class. A label map's are the same for all classes.
struct InteriorCodes {
  const uint8_t* codes = nullptr;  // of class 0
  int64_t per_class = 0;           // from a class's codes to the next one's; 0: a label map
};

// Returns how many of [n] codes, in whole blocks, equal `wanted`.
inline int64_t count_codes(const uint8_t* codes, int64_t n, uint8_t wanted) {
  constexpr int64_t most = 255 * kBlock;  // counted in bytes, lane by lane
  int64_t total = 0;
  for (int64_t begin = 0; begin < n; begin += most) {
    uint8_t lanes[kBlock] = {};
    for (int64_t block = begin; block < std::min(n, begin + most); block += kBlock) {
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        lanes[i] = static_cast<uint8_t>(lanes[i] + (codes[block + i] == wanted));
      }
    }
    for (uint8_t lane : lanes) {
      total += lane;
    }
  }
  return total;
}

class DiceCECodes {
 public:
  DiceCECodes(Scratch& scratch, const Target& target, const Geometry& geometry, const Tile& tile,
              const PlaneLayout& layout)
      : layout_(layout), size_(layout.interior_size()) {
    const Span classes = target.is_masks ? tile.channels : Span{0, 1};
    for (int64_t k = classes.begin; k < classes.end; ++k) {
      Tile of_class = tile;
      if (target.is_masks) {
        of_class.channels = {k, k + 1};
      }
      of_class_.emplace_back(scratch, target, geometry, of_class, layout);
    }
    interior_ = scratch.array<uint8_t>(classes.length() * size_);
    std::fill_n(interior_, classes.length() * size_, kInvalidPixel);
  }

  // Reads all planes before `end` that were not read yet.
  void read(int64_t end) {
    for (TileCodes& codes : of_class_) {
      codes.read(end);
    }
  }
  // Returns the codes for class k as Eq. 1 reads them: planes with what the windows reach.
  const TileCodes& of_class(int64_t k) const {
    return of_class_[of_class_.size() == 1 ? 0 : k];
  }
  // Returns plane z as the loss reads it, valid until the next call.
  InteriorCodes interior(int64_t z) {
    const int64_t length = layout_.interior_columns.length();
    for (size_t k = 0; k < of_class_.size(); ++k) {
      const uint8_t* codes = of_class_[k](z) + layout_.centre();
      for (int64_t y = 0; y < layout_.interior_rows.length(); ++y) {
        std::copy_n(codes + y * layout_.pitch, length, interior_ + k * size_ + y * layout_.pitch);
      }
    }
    return {interior_, of_class_.size() == 1 ? 0 : size_};
  }
  // The number of classes with masks of their own, or 1 for a label map.
  int64_t rows() const {
    return static_cast<int64_t>(of_class_.size());
  }
  Fault fault() const {
    Fault first;
    for (const TileCodes& codes : of_class_) {
      first.merge(codes.fault());
    }
    return first;
  }

 private:
  const PlaneLayout& layout_;
  int64_t size_;
  std::deque<TileCodes> of_class_;  // [C] masks, or one label map
  uint8_t* interior_ = nullptr;     // likewise, [interior] each
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
