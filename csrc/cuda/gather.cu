// The transpose of scatter, for the derivative of the gradient: every pixel takes the value at its
// winner, one pixel to a thread.
//
//     values    a b c        winners (1D, window 3)   2 2 0        result   b c b
#include "launch.h"
#include "space.h"

namespace scnp::cuda {
namespace {

struct GatherArguments {
  Space space;
  View<const char> values;   // [B, C, *spatial]
  View<const char> winners;  // [B, C, *spatial]
  View<char> result;         // [B, C, *spatial]
};

// Returns the winner's pixel. Winners of a forward pass never leave the image; other numbers must
// not leave memory.
__device__ Pixel winner_of(const Space& space, const Pixel& here, int64_t tap) {
  Pixel there = here;
  const auto number = static_cast<uint64_t>(tap);
  const auto last = static_cast<uint64_t>(space.taps - 1);
  int64_t rest = static_cast<int64_t>(number < last ? number : last);
  for (int axis = kInner; axis >= kOuter; --axis) {
    const int64_t displacement = split_off(rest, 2 * space.half[axis] + 1) - space.half[axis];
    const int64_t at = here.at[axis] + displacement;
    const int64_t border = space.size[axis] - 1;
    there.at[axis] = at < 0 ? 0 : at > border ? border : at;
  }
  return there;
}

// Bits: an integer of the values' width, since values are moved and never computed with.
template <class Bits, class Winner>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    gather_pixels(const GatherArguments arguments) {
  const Space& space = arguments.space;
  const Bits* values = reinterpret_cast<const Bits*>(arguments.values.data);
  const Winner* winners = reinterpret_cast<const Winner*>(arguments.winners.data);
  Bits* result = reinterpret_cast<Bits*>(arguments.result.data);
  const int64_t pixels = space.pixels();
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; n < pixels; n += stride) {
    const Pixel here = pixel_of(n, space.channels, space.size);
    const Pixel there = winner_of(space, here, winners[offset_of(arguments.winners, here)]);
    result[offset_of(arguments.result, here)] = values[offset_of(arguments.values, there)];
  }
}

template <class Bits, class Winner>
Launch launch_gather(const GatherCall& call, cudaStream_t stream, const Limits& limits) {
  const GatherArguments arguments{Space(call.geometry), call.values, call.winners, call.result};
  return launch_pixels("gather_pixels", gather_pixels<Bits, Winner>, arguments.space.pixels(),
                       arguments, stream, limits);
}

}  // namespace

Launch gather(const GatherCall& call, cudaStream_t stream, const Limits& limits) {
  return with_winner_type(call.winner_type, [&](auto winner) -> Launch {
    using Winner = decltype(winner);
    switch (call.type) {
      case FloatType::kFloat16:
      case FloatType::kBFloat16:
        return launch_gather<uint16_t, Winner>(call, stream, limits);
      case FloatType::kFloat32:
        return launch_gather<uint32_t, Winner>(call, stream, limits);
      case FloatType::kFloat64:
        return launch_gather<uint64_t, Winner>(call, stream, limits);
    }
    return {cudaErrorInvalidValue, "gather of an unknown type"};
  });
}

}  // namespace scnp::cuda
