// How kernels are launched, and where their shared memory is.
#pragma once

#include <cuda_runtime.h>

#include "kernels.h"
#include "space.h"

// The block's dynamic shared memory, as bytes aligned for every type. A host that runs kernels
// brings its own definition.
#if !defined(SCNP_SHARED_MEMORY)
#define SCNP_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// Before a loop over a window: unrolled, it takes registers that more threads need, and gains
// nothing for the few steps that most windows have.
#if defined(__CUDACC__)
#define SCNP_NOT_UNROLLED _Pragma("unroll 1")
#else
#define SCNP_NOT_UNROLLED
#endif

namespace scnp::cuda {

constexpr int kThreads = 256;           // at most, in a block
constexpr int kBlocksPerProcessor = 2;  // at least: leaves 128 registers to a thread

// Every kernel takes one structure by value.
template <class Arguments>
Launch launch(const char* name, void (*kernel)(Arguments), int64_t blocks, dim3 threads,
              int64_t shared_memory, cudaStream_t stream, Arguments arguments) {
  void* pointers[] = {&arguments};
  const dim3 grid(static_cast<unsigned>(blocks));
  return {
      cudaLaunchKernel(kernel, grid, threads, pointers, static_cast<size_t>(shared_memory), stream),
      name};
}

// One pixel to a thread, or several where the grid cannot be as large.
template <class Arguments>
Launch launch_pixels(const char* name, void (*kernel)(Arguments), int64_t pixels,
                     const Arguments& arguments, cudaStream_t stream, const Limits& limits) {
  const int64_t blocks = divide_up(pixels, kThreads);
  return launch(name, kernel, blocks < limits.blocks ? blocks : limits.blocks, dim3(kThreads), 0,
                stream, arguments);
}

// The kernel that marches with tiles, or, where no tile fits, the one that reads whole windows.
template <class Arguments>
Launch launch_tiles_or_windows(const char* tiles_name, void (*tiles)(Arguments),
                               const char* windows_name, void (*windows)(Arguments),
                               const Arguments& arguments, cudaStream_t stream,
                               const Limits& limits) {
  const Tiling& tiling = arguments.tiling;
  if (tiling.count == 0) {
    return launch_pixels(windows_name, windows, arguments.space.pixels(), arguments, stream,
                         limits);
  }
  const dim3 threads(static_cast<unsigned>(tiling.threads[0]),
                     static_cast<unsigned>(tiling.threads[1]));
  return launch(tiles_name, tiles, tiling.count < limits.blocks ? tiling.count : limits.blocks,
                threads, tiling.shared_memory, stream, arguments);
}

}  // namespace scnp::cuda
