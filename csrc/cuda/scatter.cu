// Eq. 2 on a GPU: every gradient goes to the winner of its pixel. Turned around, so that no two
// threads add to the same pixel: every winner asks its neighbours, in raster order, whether they
// chose it, and adds their gradients one by one, which makes the result bit-exact.
//
//   One tile of one channel, marching along the outer axis (window 3):
//
//     gradient, winners       shared memory                              logits gradient
//
//     plane z+1  -- load -->  ring: z+1, z, z-1,  of the tile and its halo      barrier
//                                | for j of z-1, z, z+1 in raster order:
//                                |   winner of j == the tap from j to i  ->  add gradient of j
//                                +----------------------------------------> plane z   barrier
#include "half_floats.h"
#include "launch.h"
#include "space.h"

namespace scnp::cuda {
namespace {

struct ScatterArguments {
  Space space;
  Tiling tiling;
  View<const char> gradient;   // [B, C, *spatial]: with respect to the penalized logits
  View<const char> winners;    // [B, C, *spatial]
  View<char> logits_gradient;  // [B, C, *spatial]
};

// Stands for no winner: no tap has this number.
template <class Winner>
constexpr Winner kNoWinner = static_cast<Winner>(-1);

// Where the parts of a block's shared memory begin, in bytes.
template <class T, class Winner>
struct ScatterStorage {
  int32_t gradients;  // [depth, with_halo(middle), with_halo(inner)]
  int32_t winners;    // likewise
  int64_t bytes;

  SCNP_HOST_DEVICE explicit ScatterStorage(const Tiling& tiling) {
    const int64_t box =
        int64_t{tiling.depth()} * tiling.with_halo(kMiddle) * tiling.with_halo(kInner);
    Storage storage;
    gradients = storage.reserve<T>(box);
    winners = storage.reserve<Winner>(box);
    bytes = storage.bytes();
  }
};

template <class T, class Winner>
class TileScatter {
 public:
  __device__ TileScatter(const ScatterArguments& arguments, unsigned char* shared)
      : arguments_(arguments),
        space_(arguments.space),
        tiling_(arguments.tiling),
        rows_(tiling_.with_halo(kMiddle)),
        columns_(tiling_.with_halo(kInner)) {
    const ScatterStorage<T, Winner> at(tiling_);
    gradients_ = reinterpret_cast<T*>(shared + at.gradients);
    winners_ = reinterpret_cast<Winner*>(shared + at.winners);
  }

  __device__ void march(const Pixel& first) {
    const int64_t reach = tiling_.reach[kOuter];
    const int64_t begin = first.at[kOuter];
    const int64_t end = begin + tiling_.tile[kOuter] < space_.size[kOuter]
                            ? begin + tiling_.tile[kOuter]
                            : space_.size[kOuter];
    march_begin_ = begin - reach;
    for (int64_t plane = march_begin_; plane < end + reach; ++plane) {
      const int64_t done = plane - reach;  // all pixels that reach it are loaded now
      if (space_.contains(kOuter, plane)) {
        load(first, plane);
      }
      __syncthreads();
      if (done >= begin) {
        emit(first, done);
      }
      __syncthreads();
    }
  }

 private:
  // A march is short: 32 bits hold how far it has come.
  __device__ int32_t slot_of(int64_t plane) const {
    return static_cast<int32_t>(static_cast<uint32_t>(plane - march_begin_) %
                                static_cast<uint32_t>(tiling_.depth()));
  }

  // Gradients and winners of one plane of the tile and its halo. Beyond the border, pixels have no
  // winner.
  __device__ void load(const Pixel& first, int64_t plane) {
    const T* gradients = reinterpret_cast<const T*>(arguments_.gradient.data);
    const Winner* winners = reinterpret_cast<const Winner*>(arguments_.winners.data);
    const int32_t plane_begin = slot_of(plane) * rows_ * columns_;
    const int64_t begin = first.at[kInner] - tiling_.reach[kInner];
    Pixel pixel = first;
    pixel.at[kOuter] = plane;
    for (int32_t row = threadIdx.y; row < rows_; row += blockDim.y) {
      pixel.at[kMiddle] = first.at[kMiddle] + row - tiling_.reach[kMiddle];
      pixel.at[kInner] = begin + threadIdx.x;
      const bool row_inside = space_.contains(kMiddle, pixel.at[kMiddle]);
      int64_t gradient_at = offset_of(arguments_.gradient, pixel);
      int64_t winner_at = offset_of(arguments_.winners, pixel);
      for (int32_t column = threadIdx.x; column < columns_; column += blockDim.x) {
        const int32_t at = plane_begin + row * columns_ + column;
        if (row_inside && space_.contains(kInner, begin + column)) {
          gradients_[at] = gradients[gradient_at];
          winners_[at] = winners[winner_at];
        } else {
          winners_[at] = kNoWinner<Winner>;
        }
        gradient_at += blockDim.x * arguments_.gradient.axis[kInner];
        winner_at += blockDim.x * arguments_.winners.axis[kInner];
      }
    }
  }

  __device__ void emit(const Pixel& first, int64_t plane) const {
    T* result = reinterpret_cast<T*>(arguments_.logits_gradient.data);
    Pixel pixel = first;
    pixel.at[kOuter] = plane;
    for (int32_t m = threadIdx.y; m < tiling_.tile[kMiddle]; m += blockDim.y) {
      pixel.at[kMiddle] = first.at[kMiddle] + m;
      for (int32_t i = threadIdx.x; i < tiling_.tile[kInner]; i += blockDim.x) {
        pixel.at[kInner] = first.at[kInner] + i;
        if (space_.contains(kMiddle, pixel.at[kMiddle]) &&
            space_.contains(kInner, pixel.at[kInner])) {
          narrow(sum_at(plane, m, i), result[offset_of(arguments_.logits_gradient, pixel)]);
        }
      }
    }
  }

  // Adds up the gradients of those pixels j, of all whose window holds pixel (plane, m, i), that
  // name it as their winner.
  __device__ Accumulator<T> sum_at(int64_t plane, int32_t m, int32_t i) const {
    const int64_t begin = space_.window_first(kOuter, plane);
    const int64_t end = space_.window_end(kOuter, plane);
    const auto row_step = static_cast<int32_t>(space_.tap_step[kMiddle]);
    Accumulator<T> sum = 0;
    for (int64_t z = begin; z < end; ++z) {
      // The tap from the first j of this plane to the pixel: the farther j, the smaller.
      auto row_tap = static_cast<int32_t>(space_.tap_part(kOuter, plane - z) +
                                          space_.tap_part(kMiddle, space_.reach[kMiddle]) +
                                          space_.tap_part(kInner, space_.reach[kInner]));
      int32_t at = (slot_of(z) * rows_ + m) * columns_ + i;
      for (int32_t row = 0; row <= 2 * tiling_.reach[kMiddle]; ++row) {
        for (int32_t column = 0; column <= 2 * tiling_.reach[kInner]; ++column) {
          if (winners_[at + column] == static_cast<Winner>(row_tap - column)) {
            sum += widen(gradients_[at + column]);
          }
        }
        row_tap -= row_step;
        at += columns_;
      }
    }
    return sum;
  }

  const ScatterArguments& arguments_;
  const Space& space_;
  const Tiling& tiling_;
  const int32_t rows_;
  const int32_t columns_;
  int64_t march_begin_ = 0;  // the first plane that the march's windows reach
  T* gradients_;
  Winner* winners_;
};

template <class T, class Winner>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    scatter_tiles(const ScatterArguments arguments) {
  SCNP_SHARED_MEMORY(shared);
  TileScatter<T, Winner> scatter(arguments, shared);
  for (int64_t tile = blockIdx.x; tile < arguments.tiling.count; tile += gridDim.x) {
    scatter.march(arguments.tiling.first_of(tile, arguments.space.channels));
  }
}

// Windows whose tile does not fit into shared memory: every thread asks all neighbours of its pixel
// in global memory, in raster order.
template <class T, class Winner>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    scatter_windows(const ScatterArguments arguments) {
  const Space& space = arguments.space;
  const T* gradients = reinterpret_cast<const T*>(arguments.gradient.data);
  const Winner* winners = reinterpret_cast<const Winner*>(arguments.winners.data);
  T* result = reinterpret_cast<T*>(arguments.logits_gradient.data);
  const int64_t pixels = space.pixels();
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; n < pixels; n += stride) {
    const Pixel here = pixel_of(n, space.channels, space.size);
    Accumulator<T> sum = 0;
    Pixel there = here;
    const int64_t first = space.window_first(kInner, here.at[kInner]);
    for (int64_t z = space.window_first(kOuter, here.at[kOuter]);
         z < space.window_end(kOuter, here.at[kOuter]); ++z) {
      there.at[kOuter] = z;
      for (int64_t y = space.window_first(kMiddle, here.at[kMiddle]);
           y < space.window_end(kMiddle, here.at[kMiddle]); ++y) {
        there.at[kMiddle] = y;
        there.at[kInner] = first;
        int64_t winner_at = offset_of(arguments.winners, there);
        int64_t gradient_at = offset_of(arguments.gradient, there);
        int64_t tap = space.tap_part(kOuter, here.at[kOuter] - z) +
                      space.tap_part(kMiddle, here.at[kMiddle] - y) +
                      space.tap_part(kInner, here.at[kInner] - first);
        SCNP_NOT_UNROLLED
        for (int64_t x = first; x < space.window_end(kInner, here.at[kInner]); ++x) {
          if (winners[winner_at] == tap) {
            sum += widen(gradients[gradient_at]);
          }
          winner_at += arguments.winners.axis[kInner];
          gradient_at += arguments.gradient.axis[kInner];
          --tap;
        }
      }
    }
    narrow(sum, result[offset_of(arguments.logits_gradient, here)]);
  }
}

template <class T, class Winner>
Launch launch_scatter(const ScatterCall& call, cudaStream_t stream, const Limits& limits) {
  ScatterArguments arguments{
      Space(call.geometry), {}, call.gradient, call.winners, call.logits_gradient};
  march_along_planes(arguments.space, arguments.gradient, arguments.winners,
                     arguments.logits_gradient);
  arguments.tiling =
      tile_for(arguments.space, limits.shared_memory, kThreads,
               [](const Tiling& tiling) { return ScatterStorage<T, Winner>(tiling).bytes; });
  return launch_tiles_or_windows("scatter_tiles", scatter_tiles<T, Winner>, "scatter_windows",
                                 scatter_windows<T, Winner>, arguments, stream, limits);
}

}  // namespace

Launch scatter(const ScatterCall& call, cudaStream_t stream, const Limits& limits) {
  return with_winner_type(call.winner_type, [&](auto winner) -> Launch {
    using Winner = decltype(winner);
    switch (call.type) {
      case FloatType::kFloat16:
        return launch_scatter<__half, Winner>(call, stream, limits);
      case FloatType::kBFloat16:
        return launch_scatter<__nv_bfloat16, Winner>(call, stream, limits);
      case FloatType::kFloat32:
        return launch_scatter<float, Winner>(call, stream, limits);
      case FloatType::kFloat64:
        return launch_scatter<double, Winner>(call, stream, limits);
    }
    return {cudaErrorInvalidValue, "scatter of an unknown type"};
  });
}

}  // namespace scnp::cuda
