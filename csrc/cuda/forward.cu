// Eq. 1 on a GPU: a masked maximum over a box, separable, carrying (key, tap) of both classes.
//
//   One tile of one channel, marching along the outer axis (window 3):
//
//     logits, target        shared memory                                    penalized, winners
//
//     plane z+1  -- load -> keys, classes      of the tile and its halo
//                                | row pass: best of x-1, x, x+1  -> (key, tap x)      barrier
//                           reduced rows       of both classes
//                                | middle pass: best of y-1, y, y+1  -> (key, tap y,x) barrier
//                           ring: z+1, z, z-1  of both classes
//                                | outer pass: best of z-1, z, z+1 of the pixel's class
//                                +-----------------------------------------> plane z
//
//   Every pixel is a candidate of exactly one class, or of none when it is invalid. Each pass
//   visits its sources in ascending order and replaces only on strict `>`, so the winner is the
//   first in raster order. A thread alone writes and reads its pixels of the ring, so only the
//   first two passes wait for other threads.
#include "launch.h"
#include "ordered_keys.h"
#include "pixel_class.h"
#include "space.h"

namespace scnp::cuda {
namespace {

struct ForwardArguments {
  Space space;
  Tiling tiling;
  View<const char> logits;  // [B, C, *spatial]
  Target target;
  Gate gate;
  View<char> penalized;  // [B, C, *spatial]
  View<char> winners;    // [B, C, *spatial]
};

// Whether the pixel keeps its own logit, and is its own winner: nothing is chosen for it.
__device__ bool keeps_own(const Gate& gate, PixelClass cls, const Pixel& pixel) {
  return cls == kInvalid || (gate.exists && gate.view.data[offset_of(gate.view, pixel)] == 0);
}

// The best candidate so far. Taps count over the axes reduced so far.
template <class Key, class Tap>
struct Candidate {
  Key key;
  Tap tap;

  __device__ void replace_if_better(Key other, Tap other_tap) {
    if (other > key) {
      key = other;
      tap = other_tap;
    }
  }
};

// Where the parts of a block's shared memory begin, in bytes.
template <class Key, class Tap>
struct ForwardStorage {
  int32_t keys;          // [with_halo(middle), with_halo(inner)]
  int32_t row_keys;      // [2 classes, with_halo(middle), tile inner]
  int32_t ring_keys;     // [2 classes, depth, tile middle, tile inner]; unused if depth is 1
  int32_t row_taps;      // as row_keys
  int32_t ring_taps;     // as ring_keys
  int32_t classes;       // as keys
  int32_t ring_classes;  // [depth, tile middle, tile inner]
  int64_t bytes;

  SCNP_HOST_DEVICE explicit ForwardStorage(const Tiling& tiling) {
    const int64_t rows = tiling.with_halo(kMiddle);
    const int64_t box = rows * tiling.with_halo(kInner);
    const int64_t reduced = 2 * rows * tiling.tile[kInner];
    const int64_t ring = int64_t{tiling.depth()} * tiling.tile[kMiddle] * tiling.tile[kInner];
    const int64_t kept = tiling.depth() == 1 ? 0 : 2 * ring;
    Storage storage;
    keys = storage.reserve<Key>(box);
    row_keys = storage.reserve<Key>(reduced);
    ring_keys = storage.reserve<Key>(kept);
    row_taps = storage.reserve<Tap>(reduced);
    ring_taps = storage.reserve<Tap>(kept);
    classes = storage.reserve<uint8_t>(box);
    ring_classes = storage.reserve<uint8_t>(ring);
    bytes = storage.bytes();
  }
};

template <class Format, class Winner>
class TileForward {
  using Key = typename Format::Key;
  using Best = Candidate<Key, Winner>;
  static constexpr Key kNoCandidate = Keys<Format>::kNoCandidate;

 public:
  __device__ TileForward(const ForwardArguments& arguments, unsigned char* shared)
      : arguments_(arguments),
        space_(arguments.space),
        tiling_(arguments.tiling),
        rows_(tiling_.with_halo(kMiddle)),
        columns_(tiling_.with_halo(kInner)) {
    const ForwardStorage<Key, Winner> at(tiling_);
    keys_ = reinterpret_cast<Key*>(shared + at.keys);
    row_keys_ = reinterpret_cast<Key*>(shared + at.row_keys);
    ring_keys_ = reinterpret_cast<Key*>(shared + at.ring_keys);
    row_taps_ = reinterpret_cast<Winner*>(shared + at.row_taps);
    ring_taps_ = reinterpret_cast<Winner*>(shared + at.ring_taps);
    classes_ = shared + at.classes;
    ring_classes_ = shared + at.ring_classes;
  }

  __device__ void march(const Pixel& first) {
    const int64_t reach = tiling_.reach[kOuter];
    const int64_t begin = first.at[kOuter];
    const int64_t end = smaller(begin + tiling_.tile[kOuter], space_.size[kOuter]);
    march_begin_ = begin - reach;
    for (int64_t plane = march_begin_; plane < end + reach; ++plane) {
      const int64_t done = plane - reach;  // its window is complete now
      if (space_.contains(kOuter, plane)) {
        load(first, plane);
        __syncthreads();
        reduce_rows(plane);
        __syncthreads();
      }
      for_each_pixel([&](int32_t m, int32_t i) {
        if (space_.contains(kOuter, plane) && reach > 0) {
          reduce_middle(plane, m, i);
        }
        if (done >= begin) {
          emit(first, done, m, i);
        }
      });
    }
  }

 private:
  __device__ static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
  }

  // The pixels (m, i) of a plane of the tile that belong to this thread, the same in every pass.
  template <class Body>
  __device__ void for_each_pixel(const Body& body) const {
    for (int32_t m = threadIdx.y; m < tiling_.tile[kMiddle]; m += blockDim.y) {
      for (int32_t i = threadIdx.x; i < tiling_.tile[kInner]; i += blockDim.x) {
        body(m, i);
      }
    }
  }

  // A march is short: 32 bits hold how far it has come.
  __device__ int32_t slot_of(int64_t plane) const {
    return static_cast<int32_t>(static_cast<uint32_t>(plane - march_begin_) %
                                static_cast<uint32_t>(tiling_.depth()));
  }
  // Index over [classes, depth, tile middle, tile inner].
  __device__ int32_t in_ring(int32_t cls, int32_t slot, int32_t m, int32_t i) const {
    return ((cls * tiling_.depth() + slot) * tiling_.tile[kMiddle] + m) * tiling_.tile[kInner] + i;
  }
  // Index over [classes, with_halo(middle), tile inner].
  __device__ int32_t in_rows(int32_t cls, int32_t row, int32_t i) const {
    return (cls * rows_ + row) * tiling_.tile[kInner] + i;
  }

  // Keys and classes of one plane of the tile and its halo. Beyond the border, pixels are invalid.
  __device__ void load(const Pixel& first, int64_t plane) {
    const Target& target = arguments_.target;
    const View<const char>& logits = arguments_.logits;
    const int64_t begin = first.at[kInner] - tiling_.reach[kInner];
    Pixel pixel = first;
    pixel.at[kOuter] = plane;
    for (int32_t row = threadIdx.y; row < rows_; row += blockDim.y) {
      pixel.at[kMiddle] = first.at[kMiddle] + row - tiling_.reach[kMiddle];
      pixel.at[kInner] = begin + threadIdx.x;
      const bool row_inside = space_.contains(kMiddle, pixel.at[kMiddle]);
      int64_t logit_at = offset_of(logits, pixel);
      PixelOffsets label_at(target, pixel);
      for (int32_t column = threadIdx.x; column < columns_; column += blockDim.x) {
        PixelClass cls = kInvalid;
        Key key = kNoCandidate;
        if (row_inside && space_.contains(kInner, begin + column)) {
          cls = class_of_pixel(target, first.channel, label_at);
          key = Keys<Format>::from_bits(reinterpret_cast<const Key*>(logits.data)[logit_at],
                                        cls == kForeground);
        }
        keys_[row * columns_ + column] = key;
        classes_[row * columns_ + column] = cls;
        logit_at += blockDim.x * logits.axis[kInner];
        label_at.advance(target, blockDim.x);
      }
    }
  }

  // The row pass, of the tile's columns in every row that its windows reach.
  __device__ void reduce_rows(int64_t plane) {
    const int32_t slot = slot_of(plane);
    const auto first_tap = static_cast<Winner>(space_.tap_part(kInner, -space_.reach[kInner]));
    const int32_t window = 2 * tiling_.reach[kInner] + 1;
    for (int32_t row = threadIdx.y; row < rows_; row += blockDim.y) {
      for (int32_t i = threadIdx.x; i < tiling_.tile[kInner]; i += blockDim.x) {
        const Key* keys = keys_ + row * columns_ + i;
        const uint8_t* classes = classes_ + row * columns_ + i;
        Best background{kNoCandidate, 0};
        Best foreground{kNoCandidate, 0};
        SCNP_NOT_UNROLLED
        for (int32_t t = 0; t < window; ++t) {
          const auto tap = static_cast<Winner>(first_tap + t);
          background.replace_if_better(classes[t] == kBackground ? keys[t] : kNoCandidate, tap);
          foreground.replace_if_better(classes[t] == kForeground ? keys[t] : kNoCandidate, tap);
        }
        store_row(kBackground, row, i, background);
        store_row(kForeground, row, i, foreground);
        const int32_t m = row - tiling_.reach[kMiddle];
        if (0 <= m && m < tiling_.tile[kMiddle]) {
          ring_classes_[in_ring(0, slot, m, i)] = classes[tiling_.reach[kInner]];
        }
      }
    }
  }

  __device__ void store_row(int32_t cls, int32_t row, int32_t i, const Best& best) {
    row_keys_[in_rows(cls, row, i)] = best.key;
    row_taps_[in_rows(cls, row, i)] = best.tap;
  }

  // The middle pass of one pixel and class, from the reduced rows.
  __device__ Best best_of_rows(int32_t cls, int32_t m, int32_t i) const {
    const auto step = static_cast<Winner>(space_.tap_step[kMiddle]);
    auto base = static_cast<Winner>(space_.tap_part(kMiddle, -space_.reach[kMiddle]));
    Best best{kNoCandidate, 0};
    SCNP_NOT_UNROLLED
    for (int32_t t = 0; t <= 2 * tiling_.reach[kMiddle]; ++t) {
      const int32_t at = in_rows(cls, m + t, i);
      best.replace_if_better(row_keys_[at], static_cast<Winner>(row_taps_[at] + base));
      base = static_cast<Winner>(base + step);
    }
    return best;
  }

  __device__ void reduce_middle(int64_t plane, int32_t m, int32_t i) {
    for (int32_t cls = kBackground; cls <= kForeground; ++cls) {
      const Best best = best_of_rows(cls, m, i);
      const int32_t at = in_ring(cls, slot_of(plane), m, i);
      ring_keys_[at] = best.key;
      ring_taps_[at] = best.tap;
    }
  }

  // The outer pass of one pixel and class, from the ring.
  __device__ Best best_of_planes(int32_t cls, int64_t plane, int32_t m, int32_t i) const {
    const int64_t begin = space_.window_first(kOuter, plane);
    const int64_t end = space_.window_end(kOuter, plane);
    const auto step = static_cast<Winner>(space_.tap_step[kOuter]);
    auto base = static_cast<Winner>(space_.tap_part(kOuter, begin - plane));
    int32_t slot = slot_of(begin);
    Best best{kNoCandidate, 0};
    SCNP_NOT_UNROLLED
    for (int64_t z = begin; z < end; ++z) {
      const int32_t at = in_ring(cls, slot, m, i);
      best.replace_if_better(ring_keys_[at], static_cast<Winner>(ring_taps_[at] + base));
      base = static_cast<Winner>(base + step);
      slot = slot + 1 == tiling_.depth() ? 0 : slot + 1;
    }
    return best;
  }

  __device__ void emit(const Pixel& first, int64_t plane, int32_t m, int32_t i) const {
    Pixel pixel = first;
    pixel.at[kOuter] = plane;
    pixel.at[kMiddle] += m;
    pixel.at[kInner] += i;
    if (!space_.contains(kMiddle, pixel.at[kMiddle]) ||
        !space_.contains(kInner, pixel.at[kInner])) {
      return;
    }
    Key* penalized = reinterpret_cast<Key*>(arguments_.penalized.data);
    Winner* winners = reinterpret_cast<Winner*>(arguments_.winners.data);
    const auto cls = static_cast<PixelClass>(ring_classes_[in_ring(0, slot_of(plane), m, i)]);
    Key bits;
    Winner tap;
    if (keeps_own(arguments_.gate, cls, pixel)) {
      const Key* logits = reinterpret_cast<const Key*>(arguments_.logits.data);
      bits = logits[offset_of(arguments_.logits, pixel)];
      tap = static_cast<Winner>(space_.centre_tap());
    } else {
      Best best =
          tiling_.reach[kOuter] > 0 ? best_of_planes(cls, plane, m, i) : best_of_rows(cls, m, i);
      if (tiling_.reach[kOuter] == 0) {
        best.tap = static_cast<Winner>(best.tap + space_.tap_part(kOuter, 0));
      }
      bits = Keys<Format>::to_bits(best.key, cls == kForeground);
      tap = best.tap;
    }
    penalized[offset_of(arguments_.penalized, pixel)] = bits;
    winners[offset_of(arguments_.winners, pixel)] = tap;
  }

  const ForwardArguments& arguments_;
  const Space& space_;
  const Tiling& tiling_;
  const int32_t rows_;
  const int32_t columns_;
  int64_t march_begin_ = 0;  // the first plane that the march's windows reach
  Key* keys_;
  Key* row_keys_;
  Key* ring_keys_;
  Winner* row_taps_;
  Winner* ring_taps_;
  uint8_t* classes_;
  uint8_t* ring_classes_;
};

template <class Format, class Winner>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_tiles(const ForwardArguments arguments) {
  SCNP_SHARED_MEMORY(shared);
  TileForward<Format, Winner> forward(arguments, shared);
  for (int64_t tile = blockIdx.x; tile < arguments.tiling.count; tile += gridDim.x) {
    forward.march(arguments.tiling.first_of(tile, arguments.space.channels));
  }
}

// Windows whose tile does not fit into shared memory: every thread looks at all neighbours of its
// pixel, in raster order.
template <class Format, class Winner>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    forward_windows(const ForwardArguments arguments) {
  using Key = typename Format::Key;
  const Space& space = arguments.space;
  const Key* logits = reinterpret_cast<const Key*>(arguments.logits.data);
  const int64_t pixels = space.pixels();
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; n < pixels; n += stride) {
    const Pixel here = pixel_of(n, space.channels, space.size);
    const PixelClass cls = class_of_pixel(arguments.target, here);
    Key bits = logits[offset_of(arguments.logits, here)];
    int64_t winner = space.centre_tap();
    if (!keeps_own(arguments.gate, cls, here)) {
      Candidate<Key, int64_t> best{Keys<Format>::kNoCandidate, 0};
      Pixel there = here;
      const int64_t first = space.window_first(kInner, here.at[kInner]);
      for (int64_t z = space.window_first(kOuter, here.at[kOuter]);
           z < space.window_end(kOuter, here.at[kOuter]); ++z) {
        there.at[kOuter] = z;
        for (int64_t y = space.window_first(kMiddle, here.at[kMiddle]);
             y < space.window_end(kMiddle, here.at[kMiddle]); ++y) {
          there.at[kMiddle] = y;
          there.at[kInner] = first;
          int64_t logit_at = offset_of(arguments.logits, there);
          PixelOffsets label_at(arguments.target, there);
          int64_t tap = space.tap_part(kOuter, z - here.at[kOuter]) +
                        space.tap_part(kMiddle, y - here.at[kMiddle]) +
                        space.tap_part(kInner, first - here.at[kInner]);
          SCNP_NOT_UNROLLED
          for (int64_t x = first; x < space.window_end(kInner, here.at[kInner]); ++x) {
            if (class_of_pixel(arguments.target, here.channel, label_at) == cls) {
              best.replace_if_better(Keys<Format>::from_bits(logits[logit_at], cls == kForeground),
                                     tap);
            }
            logit_at += arguments.logits.axis[kInner];
            label_at.advance(arguments.target, 1);
            ++tap;
          }
        }
      }
      bits = Keys<Format>::to_bits(best.key, cls == kForeground);
      winner = best.tap;
    }
    reinterpret_cast<Key*>(arguments.penalized.data)[offset_of(arguments.penalized, here)] = bits;
    reinterpret_cast<Winner*>(arguments.winners.data)[offset_of(arguments.winners, here)] =
        static_cast<Winner>(winner);
  }
}

template <class Format, class Winner>
Launch launch_forward(const ForwardCall& call, cudaStream_t stream, const Limits& limits) {
  ForwardArguments arguments{Space(call.geometry), {},          call.logits, call.target, call.gate,
                             call.penalized,       call.winners};
  march_along_planes(arguments.space, arguments.logits, arguments.target.strides,
                     arguments.target.mask, arguments.gate.view, arguments.penalized,
                     arguments.winners);
  arguments.tiling =
      tile_for(arguments.space, limits.shared_memory, kThreads, [](const Tiling& tiling) {
        return ForwardStorage<typename Format::Key, Winner>(tiling).bytes;
      });
  return launch_tiles_or_windows("forward_tiles", forward_tiles<Format, Winner>, "forward_windows",
                                 forward_windows<Format, Winner>, arguments, stream, limits);
}

}  // namespace

Launch forward(const ForwardCall& call, cudaStream_t stream, const Limits& limits) {
  return with_winner_type(call.winner_type, [&](auto winner) -> Launch {
    using Winner = decltype(winner);
    switch (call.type) {
      case FloatType::kFloat16:
        return launch_forward<Float16Format, Winner>(call, stream, limits);
      case FloatType::kBFloat16:
        return launch_forward<BFloat16Format, Winner>(call, stream, limits);
      case FloatType::kFloat32:
        return launch_forward<Float32Format, Winner>(call, stream, limits);
      case FloatType::kFloat64:
        return launch_forward<Float64Format, Winner>(call, stream, limits);
    }
    return {cudaErrorInvalidValue, "forward of an unknown type"};
  });
}

}  // namespace scnp::cuda
