// How an image is cut into tiles for the thread pool. Results never depend on the cut.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../contract.h"

namespace scnp::cpu {

struct Span {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t length() const {
    return end - begin;
  }
  // The span grown by `by` on both sides, clipped to [0, size).
  Span grown(int64_t by, int64_t size) const {
    return {std::max<int64_t>(0, begin - by), std::min(size, end + by)};
  }
};

// A box of pixels of one channel of one image.
struct Tile {
  int64_t batch = 0;
  int64_t channel = 0;
  Span span[kAxes];
};

class Tiling {
 public:
  // Rows and planes of a tile should stay in the first two cache levels while the kernel marches
  // along the outer axis; and there should be enough tiles to keep every worker busy to the end.
  Tiling(const Geometry& geometry, int64_t workers) : geometry_(geometry) {
    constexpr int64_t inner_pixels = 512;
    constexpr int64_t plane_pixels = 2048;
    constexpr int64_t tiles_per_worker = 4;
    tile_[kInner] = std::min(geometry.size[kInner], inner_pixels);
    // Neighbouring tiles both read the reach between them: keep a tile well above it.
    tile_[kMiddle] = std::min(geometry.size[kMiddle],
                              std::max(plane_pixels / tile_[kInner], 4 * geometry.reach(kMiddle)));
    tile_[kOuter] = geometry.size[kOuter];
    const int64_t wanted = workers > 1 ? tiles_per_worker * workers : 1;
    const int64_t per_outer_span =
        geometry.batch * geometry.channels * parts(kMiddle) * parts(kInner);
    const int64_t spans = std::max<int64_t>(1, (wanted + per_outer_span - 1) / per_outer_span);
    const int64_t shortest = std::max<int64_t>(4, 8 * geometry.reach(kOuter));
    tile_[kOuter] = std::min(geometry.size[kOuter],
                             std::max((geometry.size[kOuter] + spans - 1) / spans, shortest));
  }

  int64_t count() const {
    return geometry_.batch * geometry_.channels * parts(kOuter) * parts(kMiddle) * parts(kInner);
  }

  // Neighbouring tiles have neighbouring numbers: those of one channel follow each other.
  Tile tile(int64_t number) const {
    Tile tile;
    for (int axis = kInner; axis >= kOuter; --axis) {
      const int64_t part = number % parts(axis);
      number /= parts(axis);
      tile.span[axis] = {part * tile_[axis],
                         std::min(geometry_.size[axis], (part + 1) * tile_[axis])};
    }
    tile.channel = number % geometry_.channels;
    tile.batch = number / geometry_.channels;
    return tile;
  }

 private:
  int64_t parts(int axis) const {
    return (geometry_.size[axis] + tile_[axis] - 1) / tile_[axis];
  }

  Geometry geometry_;
  int64_t tile_[kAxes] = {1, 1, 1};
};

}  // namespace scnp::cpu
