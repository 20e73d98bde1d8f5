// Where the target first holds what it may not: every thread looks at some pixels, and the smallest
// position wins, whatever the order in which they come.
#include "launch.h"
#include "pixel_class.h"
#include "space.h"

namespace scnp::cuda {
namespace {

struct FaultArguments {
  Space space;  // its channels are the target's: 1 for a label map
  Target target;
  unsigned long long* first;
};

__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    find_faults(const FaultArguments arguments) {
  const Space& space = arguments.space;
  const int64_t pixels = space.pixels();
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; n < pixels; n += stride) {
    if (is_fault(arguments.target, pixel_of(n, space.channels, space.size))) {
      atomicMin(arguments.first, static_cast<unsigned long long>(n));
      return;  // the thread's later pixels come later in memory
    }
  }
}

}  // namespace

Launch find_fault(const ForwardCall& call, uint64_t* first, cudaStream_t stream,
                  const Limits& limits) {
  FaultArguments arguments{Space(call.geometry), call.target,
                           reinterpret_cast<unsigned long long*>(first)};
  arguments.space.channels = call.target.is_masks ? call.geometry.channels : 1;
  return launch_pixels("find_faults", find_faults, arguments.space.pixels(), arguments, stream,
                       limits);
}

}  // namespace scnp::cuda
