// The image as the kernels march through it, cut into tiles.
//
//   A block of threads takes one tile: a box of middle x inner pixels, wide enough to fill the
//   threads, and marches with it along the outer axis. Around the box lies the halo, the pixels
//   that its windows reach.
//
//         +-----------------+  halo
//         |  +-----------+  |
//         |  |   tile    |  |  ---> outer axis, plane by plane
//         |  +-----------+  |
//         +-----------------+
//
//   An image without a middle axis, [H, 1, W], is turned into [1, H, W]: its tiles are planes, and
//   there is nothing to march along. Tap numbers stay those of the contract.
#pragma once

#include "../contract/calls.h"

namespace scnp::cuda {

// Geometry with its axes in the order of the march.
struct Space {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t size[kAxes];
  int64_t reach[kAxes];     // of a window to either side, as Geometry::reach
  int64_t half[kAxes];      // window / 2: displacement d along an axis is the window's d + half-th
  int64_t tap_step[kAxes];  // from one displacement to the next, in tap numbers
  int64_t taps = 0;

  explicit Space(const Geometry& geometry) : batch(geometry.batch), channels(geometry.channels) {
    taps = 1;
    for (int axis = kInner; axis >= kOuter; --axis) {
      size[axis] = geometry.size[axis];
      reach[axis] = geometry.reach(axis);
      half[axis] = geometry.window[axis] / 2;
      tap_step[axis] = taps;
      taps *= geometry.window[axis];
    }
  }

  // The share that a displacement along one axis has in the tap's number.
  SCNP_HOST_DEVICE int64_t tap_part(int axis, int64_t displacement) const {
    return (displacement + half[axis]) * tap_step[axis];
  }
  SCNP_HOST_DEVICE int64_t centre_tap() const {
    return taps / 2;
  }
  SCNP_HOST_DEVICE bool contains(int axis, int64_t at) const {
    return 0 <= at && at < size[axis];
  }
  // The window around a pixel along one axis, clipped at the border: [first, end).
  SCNP_HOST_DEVICE int64_t window_first(int axis, int64_t at) const {
    return at > reach[axis] ? at - reach[axis] : 0;
  }
  SCNP_HOST_DEVICE int64_t window_end(int axis, int64_t at) const {
    const int64_t end = at + reach[axis] + 1;
    return end < size[axis] ? end : size[axis];
  }
  // The pixels of all channels of all images.
  SCNP_HOST_DEVICE int64_t pixels() const {
    return batch * channels * size[kOuter] * size[kMiddle] * size[kInner];
  }
};

template <class T>
void exchange(T& a, T& b) {
  const T before = a;
  a = b;
  b = before;
}

// If there is no middle axis, makes the outer axis the middle one, in the space and in every view.
template <class... Views>
void march_along_planes(Space& space, Views&... views) {
  if (space.size[kMiddle] != 1) {
    return;
  }
  exchange(space.size[kOuter], space.size[kMiddle]);
  exchange(space.reach[kOuter], space.reach[kMiddle]);
  exchange(space.half[kOuter], space.half[kMiddle]);
  exchange(space.tap_step[kOuter], space.tap_step[kMiddle]);
  (exchange(views.axis[kOuter], views.axis[kMiddle]), ...);
}

// The coordinates of a pixel.
struct Pixel {
  int64_t batch = 0;
  int64_t channel = 0;
  int64_t at[kAxes] = {0, 0, 0};
};

template <class T>
SCNP_HOST_DEVICE int64_t offset_of(const View<T>& view, const Pixel& pixel) {
  return view.offset(pixel.batch, pixel.channel, pixel.at[kOuter], pixel.at[kMiddle],
                     pixel.at[kInner]);
}

// The `number`-th box of a box of boxes: divides with 32 bits where they suffice, since a GPU
// divides 64 bits in a subroutine.
SCNP_HOST_DEVICE inline int64_t split_off(int64_t& number, int64_t count) {
  int64_t quotient;
  if (static_cast<uint64_t>(number | count) >> 32 == 0) {
    quotient = static_cast<uint32_t>(number) / static_cast<uint32_t>(count);
  } else {
    quotient = number / count;
  }
  const int64_t rest = number - quotient * count;
  number = quotient;
  return rest;
}

// Returns the `number`-th pixel over [batch, channels, outer, middle, inner].
SCNP_HOST_DEVICE inline Pixel pixel_of(int64_t number, int64_t channels, const int64_t* size) {
  Pixel pixel;
  for (int axis = kInner; axis >= kOuter; --axis) {
    pixel.at[axis] = split_off(number, size[axis]);
  }
  pixel.channel = split_off(number, channels);
  pixel.batch = number;
  return pixel;
}

struct Tiling {
  int32_t tile[kAxes] = {0, 0, 0};  // pixels of a tile; along the outer axis: planes of a march
  int32_t reach[kAxes] = {0, 0, 0};
  int64_t parts[kAxes] = {0, 0, 0};
  int64_t count = 0;            // of tiles, over all images and channels; 0 where none fits
  int32_t threads[2] = {0, 0};  // of a block, along the inner and the middle axis
  int64_t shared_memory = 0;    // of a block, in bytes

  // The tile and its halo along the inner or the middle axis.
  SCNP_HOST_DEVICE int32_t with_halo(int axis) const {
    return tile[axis] + 2 * reach[axis];
  }
  // The planes that a window covers.
  SCNP_HOST_DEVICE int32_t depth() const {
    return 2 * reach[kOuter] + 1;
  }
  // The first pixel of the `number`-th tile. Channels vary fastest, so that blocks that read the
  // same labels (and, with channels last, the same sectors of logits) run at the same time.
  SCNP_HOST_DEVICE Pixel first_of(int64_t number, int64_t channels) const {
    Pixel pixel;
    pixel.channel = split_off(number, channels);
    for (int axis = kInner; axis >= kOuter; --axis) {
      pixel.at[axis] = split_off(number, parts[axis]) * tile[axis];
    }
    pixel.batch = number;
    return pixel;
  }
};

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// The smallest power of two that is at least `count`, and at most `most`.
inline int32_t power_of_two(int64_t count, int32_t most) {
  int32_t power = 1;
  while (power < count && power < most) {
    power *= 2;
  }
  return power;
}

// The largest tile whose storage fits into the block's shared memory; `bytes_of(tiling)` says how
// much that is. Without room for even the smallest, count stays 0.
template <class BytesOf>
Tiling tile_for(const Space& space, int64_t most_shared_memory, int most_threads,
                const BytesOf& bytes_of) {
  constexpr int32_t boxes[][2] = {{32, 64}, {16, 64}, {16, 32}, {8, 32},
                                  {4, 32},  {2, 32},  {1, 32},  {1, 8}};  // middle, inner
  constexpr int32_t row = 256;  // of an image that is one row
  constexpr int64_t planes_of_a_march = 32;
  constexpr int64_t most_reach = 16 * 1024;  // no box with a larger halo fits any shared memory
  Tiling tiling;
  for (int axis = 0; axis < kAxes; ++axis) {
    if (space.reach[axis] > most_reach) {
      return tiling;
    }
    tiling.reach[axis] = static_cast<int32_t>(space.reach[axis]);
  }
  const auto clipped = [&](int axis, int64_t side) {
    return static_cast<int32_t>(side < space.size[axis] ? side : space.size[axis]);
  };
  // Every march begins with the planes that its first window reaches: keep it well above them.
  const int64_t planes = 4 * space.reach[kOuter];
  tiling.tile[kOuter] = clipped(kOuter, planes > planes_of_a_march ? planes : planes_of_a_march);
  for (const auto& [middle, inner] : boxes) {
    tiling.tile[kMiddle] = clipped(kMiddle, middle);
    tiling.tile[kInner] = clipped(kInner, space.size[kMiddle] == 1 ? inner * row / 64 : inner);
    tiling.shared_memory = bytes_of(tiling);
    if (tiling.shared_memory > most_shared_memory) {
      continue;
    }
    tiling.count = space.batch * space.channels;
    for (int axis = 0; axis < kAxes; ++axis) {
      tiling.parts[axis] = divide_up(space.size[axis], tiling.tile[axis]);
      tiling.count *= tiling.parts[axis];
    }
    // Whole warps along the inner axis where the tile has that many pixels.
    const int32_t inner_threads = space.size[kMiddle] == 1 ? most_threads : 32;
    tiling.threads[0] = power_of_two(tiling.tile[kInner], inner_threads);
    tiling.threads[1] = power_of_two(tiling.tile[kMiddle], most_threads / tiling.threads[0]);
    return tiling;
  }
  return tiling;
}

// Hands out parts of a block's shared memory: arrays of `count` elements, one after another. Made
// of offsets, so that the host can ask for the sum where there is no memory.
class Storage {
 public:
  template <class T>
  SCNP_HOST_DEVICE int32_t reserve(int64_t count) {
    const int64_t begin = (end_ + static_cast<int64_t>(sizeof(T)) - 1) / sizeof(T) * sizeof(T);
    end_ = begin + count * static_cast<int64_t>(sizeof(T));
    return static_cast<int32_t>(begin);
  }
  SCNP_HOST_DEVICE int64_t bytes() const {
    return end_;
  }

 private:
  int64_t end_ = 0;
};

}  // namespace scnp::cuda
