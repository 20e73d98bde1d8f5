// How an image is cut into tiles for the thread pool. Results never depend on the cut.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../contract/geometry.h"

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

// A box of pixels of some channels of one image.
struct Tile {
  int64_t batch = 0;
  Span channels;
  Span span[kAxes];
};

// Returns how many channels a tile takes through its march side by side. One after the other is
// best for the caches, unless the channels of a pixel lie beside each other (channels_last): then
// they share cache lines, each of which should be read once.
template <class T>
int64_t channels_together(const Geometry& geometry, const View<T>& view) {
  constexpr int64_t most = 8;
  const bool interleaved = geometry.channels > 1 && view.channel < view.axis[kInner];
  return interleaved ? std::min(geometry.channels, most) : 1;
}

class Tiling {
 public:
  // Rows and planes of a tile should stay in the first two cache levels while the kernel marches
  // along the outer axis; and there should be enough tiles to keep every worker busy to the end.
  Tiling(const Geometry& geometry, int64_t channels_per_tile, int64_t together, int64_t workers)
      : geometry_(geometry), channels_per_tile_(channels_per_tile) {
    // Rows up to this length stay whole: memory is then read in one stream, not in pieces.
    const int64_t inner_pixels = std::clamp<int64_t>(16384 / together, 64, 1024);
    const int64_t plane_pixels = 8192 / together;
    constexpr int64_t tile_pixels = 512 * 1024;
    constexpr int64_t tiles_per_worker = 4;
    // Neighbouring tiles both read what their windows reach, so a tile should be much larger.
    tile_[kInner] =
        equal_parts(geometry.size[kInner], std::max(inner_pixels, 4 * geometry.reach(kInner)), 64);
    tile_[kMiddle] = equal_parts(
        geometry.size[kMiddle],
        std::max({plane_pixels / tile_[kInner], 4 * geometry.reach(kMiddle), int64_t{1}}), 1);
    tile_[kOuter] = geometry.size[kOuter];
    const int64_t wanted = workers > 1 ? tiles_per_worker * workers : 1;
    const int64_t per_outer_span =
        geometry.batch * channel_parts() * parts(kMiddle) * parts(kInner);
    const int64_t plane = tile_[kMiddle] * tile_[kInner];
    const int64_t spans = std::max(divide_up(wanted, per_outer_span),
                                   divide_up(geometry.size[kOuter] * plane, tile_pixels));
    const int64_t shortest = std::max<int64_t>(4, 8 * geometry.reach(kOuter));
    tile_[kOuter] = std::min(geometry.size[kOuter],
                             std::max(divide_up(geometry.size[kOuter], spans), shortest));
  }

  // Lets tiles begin and end with whole chunks of planes, and returns the planes of a chunk. Unlike
  // tiles, chunks do not depend on the number of workers, nor does what is added up chunk by chunk.
  int64_t cut_between_chunks() {
    constexpr int64_t chunk_pixels = 16 * 1024;
    const int64_t planes = std::max<int64_t>(1, chunk_pixels / (tile_[kMiddle] * tile_[kInner]));
    tile_[kOuter] = std::min(geometry_.size[kOuter], divide_up(tile_[kOuter], planes) * planes);
    return planes;
  }
  // Makes tiles larger until the pixels around them, `reach` in every direction, are at most `most`
  // for all tiles of an image, or one tile holds the image. Returns how many they are.
  int64_t enlarge_for_halos(const std::array<int64_t, kAxes>& reach, int64_t most) {
    for (;;) {
      const int64_t pixels = pixels_of_halos(reach);
      // Tiles are joined along the axis on which the halo is largest beside them.
      int thinnest = -1;
      for (int axis = 0; axis < kAxes; ++axis) {
        const bool is_thinner =
            thinnest < 0 || reach[axis] * tile_[thinnest] > reach[thinnest] * tile_[axis];
        if (parts(axis) > 1 && reach[axis] > 0 && is_thinner) {
          thinnest = axis;
        }
      }
      if (pixels <= most || thinnest < 0) {
        return pixels;
      }
      const int64_t fewer = parts(thinnest) - divide_up(parts(thinnest), 4);
      tile_[thinnest] = divide_up(geometry_.size[thinnest], fewer);
    }
  }
  // The number of columns of tiles, along the outer axis, that an image is cut into, and the number
  // of the column in which a tile stands.
  int64_t columns() const {
    return parts(kMiddle) * parts(kInner);
  }
  int64_t column(const Tile& tile) const {
    return tile.span[kMiddle].begin / tile_[kMiddle] * parts(kInner) +
           tile.span[kInner].begin / tile_[kInner];
  }

  int64_t count() const {
    return geometry_.batch * channel_parts() * parts(kOuter) * parts(kMiddle) * parts(kInner);
  }

  // Neighbouring tiles have neighbouring numbers.
  Tile tile(int64_t number) const {
    Tile tile;
    for (int axis = kInner; axis >= kOuter; --axis) {
      const int64_t part = number % parts(axis);
      number /= parts(axis);
      tile.span[axis] = {part * tile_[axis],
                         std::min(geometry_.size[axis], (part + 1) * tile_[axis])};
    }
    const int64_t part = number % channel_parts();
    tile.channels = {part * channels_per_tile_,
                     std::min(geometry_.channels, (part + 1) * channels_per_tile_)};
    tile.batch = number / channel_parts();
    return tile;
  }

 private:
  static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
  }
  // Returns the length of the fewest equal parts that are at most `longest`; if there is more than
  // one part, the length is a multiple of `unit`.
  static int64_t equal_parts(int64_t size, int64_t longest, int64_t unit) {
    const int64_t part = divide_up(size, divide_up(size, longest));
    return part == size ? size : std::min(size, divide_up(part, unit) * unit);
  }
  // Returns how many pixels around the tiles of an image are in other tiles of it, counted for
  // each.
  int64_t pixels_of_halos(const std::array<int64_t, kAxes>& reach) const {
    int64_t grown = 1;  // the sum, over the tiles, of what they are with their halo
    for (int axis = 0; axis < kAxes; ++axis) {
      int64_t along = 0;
      for (int64_t part = 0; part < parts(axis); ++part) {
        const Span span{part * tile_[axis],
                        std::min(geometry_.size[axis], (part + 1) * tile_[axis])};
        along += span.grown(reach[axis], geometry_.size[axis]).length();
      }
      grown *= along;
    }
    return grown - geometry_.pixels();
  }
  int64_t parts(int axis) const {
    return divide_up(geometry_.size[axis], tile_[axis]);
  }
  int64_t channel_parts() const {
    return divide_up(geometry_.channels, channels_per_tile_);
  }

  Geometry geometry_;
  int64_t channels_per_tile_;
  int64_t tile_[kAxes] = {1, 1, 1};
};

}  // namespace scnp::cpu
