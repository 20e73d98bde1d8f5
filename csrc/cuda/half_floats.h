// The four floating types: widened to what sums and comparisons use, and rounded back once.
//
// By intrinsics and not by conversion operators, which the host's stand-ins need not have.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace scnp::cuda {

__device__ inline float widen(__half value) {
  return __half2float(value);
}
__device__ inline float widen(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ inline float widen(float value) {
  return value;
}
__device__ inline double widen(double value) {
  return value;
}

// To nearest, ties to even.
__device__ inline void narrow(float value, __half& result) {
  result = __float2half_rn(value);
}
__device__ inline void narrow(float value, __nv_bfloat16& result) {
  result = __float2bfloat16_rn(value);
}
__device__ inline void narrow(float value, float& result) {
  result = value;
}
__device__ inline void narrow(double value, double& result) {
  result = value;
}

// The type in which values are added up.
template <class T>
using Accumulator = decltype(widen(T{}));

}  // namespace scnp::cuda
