// The CUDA kernels' entrances. Free of torch headers: the binding hands in pointers, strides and
// the stream. Nothing here synchronises or allocates, so calls may be captured into a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "../contract/calls.h"

namespace scnp::cuda {

// What a launch may use. Smaller limits change how the work is cut, never a result.
struct Limits {
  // Shared memory of a block, in bytes: what every device gives without being asked for more.
  // Where not even the smallest tile fits, kernels read each window from global memory.
  int64_t shared_memory = 48 * 1024;
  int64_t blocks = std::numeric_limits<int32_t>::max();  // of a grid; a block may do many tiles
};

// What became of a launch: `error` is cudaSuccess, or it came from the kernel of this name.
struct Launch {
  cudaError_t error = cudaSuccess;
  const char* kernel = "";
};

Launch forward(const ForwardCall& call, cudaStream_t stream, const Limits& limits = {});
Launch scatter(const ScatterCall& call, cudaStream_t stream, const Limits& limits = {});
Launch gather(const GatherCall& call, cudaStream_t stream, const Limits& limits = {});

constexpr uint64_t kNoFault = std::numeric_limits<uint64_t>::max();

// Lowers *first, on the device, to the position of the first pixel whose target is not permitted:
// over [B, C, *spatial] for masks, over [B, *spatial] for a label map. The caller sets it to
// kNoFault before.
Launch find_fault(const ForwardCall& call, uint64_t* first, cudaStream_t stream,
                  const Limits& limits = {});

}  // namespace scnp::cuda
