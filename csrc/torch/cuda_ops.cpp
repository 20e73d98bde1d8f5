// Tensors in, tensors out: the CUDA kernels as implementations of the operators that
// scnp_kernels/ops.py declares. Launches go to torch's current stream, and nothing waits for them,
// but for validate=True, which has to look at the answer.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "../cuda/kernels.h"
#include "tensor_views.h"

namespace scnp::cuda {
namespace {

at::Tensor result_like(const at::Tensor& tensor, at::ScalarType type) {
  return at::empty_like(tensor, tensor.options().dtype(type));
}

cudaStream_t stream_of(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.get_device()).stream();
}

void check_launch(const Launch& launch) {
  if (launch.error == cudaSuccess) {
    return;
  }
  cudaGetLastError();  // forget it, or the next to ask would take it for an error of their own
  TORCH_CHECK(false, "scnp_kernels: the CUDA kernel ", launch.kernel,
              " could not be launched: ", cudaGetErrorString(launch.error),
              launch.error == cudaErrorNoKernelImageForDevice
                  ? " (the kernels were compiled for other GPUs: reinstall scnp_kernels with "
                    "TORCH_CUDA_ARCH_LIST set to this one's compute capability)"
                  : "");
}

// The value of the target at a position over its own axes.
double value_at(const at::Tensor& target, int64_t position) {
  at::Tensor rest = target;
  for (int64_t axis = target.dim() - 1; axis >= 0; --axis) {
    rest = rest.select(axis, position % target.size(axis));
    position /= target.size(axis);
  }
  return rest.to(at::kDouble).item<double>();
}

// Waits for the device: the target is looked at before anything is made of it.
void check_values(const ForwardCall& call, const at::Tensor& target) {
  const at::Tensor first = at::full({1}, -1, target.options().dtype(at::kLong));  // kNoFault
  check_launch(
      find_fault(call, static_cast<uint64_t*>(first.mutable_data_ptr()), stream_of(target)));
  const int64_t position = first.item<int64_t>();
  if (position >= 0) {
    raise({true, position, value_at(target, position)}, call.target);
  }
}

std::tuple<at::Tensor, at::Tensor> forward_op(const at::Tensor& logits, const at::Tensor& target,
                                              const std::optional<at::Tensor>& mask,
                                              at::IntArrayRef kernel_size, bool target_is_masks,
                                              int64_t first_class, int64_t label_count,
                                              std::optional<int64_t> ignore_index, bool validate) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const ForwardTensors tensors =
      forward_tensors(logits, target, mask, kernel_size, target_is_masks, first_class, label_count,
                      ignore_index, validate, result_like);
  if (logits.numel() > 0) {
    if (validate) {
      check_values(tensors.call, target);
    }
    check_launch(forward(tensors.call, stream_of(logits)));
  }
  return {tensors.penalized, tensors.winners};
}

at::Tensor scatter_op(const at::Tensor& gradient, const at::Tensor& winners,
                      at::IntArrayRef kernel_size) {
  const c10::cuda::CUDAGuard guard(gradient.device());
  ScatterCall call;
  call.geometry = geometry_of(gradient, kernel_size);
  call.type = float_type(gradient, "gradient");
  call.winner_type = winner_type(call.geometry.taps());
  check_winners(winners, gradient, call.winner_type);
  // The winners have the memory format of the logits, and so has the logits' gradient.
  const at::Tensor logits_gradient = result_like(winners, gradient.scalar_type());
  if (gradient.numel() > 0) {
    call.gradient = read(gradient, "gradient");
    call.winners = read(winners, "winners");
    call.logits_gradient = write(logits_gradient);
    check_launch(scatter(call, stream_of(gradient)));
  }
  return logits_gradient;
}

at::Tensor gather_op(const at::Tensor& values, const at::Tensor& winners,
                     at::IntArrayRef kernel_size) {
  const c10::cuda::CUDAGuard guard(values.device());
  GatherCall call;
  call.geometry = geometry_of(values, kernel_size);
  call.type = float_type(values, "values");
  call.winner_type = winner_type(call.geometry.taps());
  check_winners(winners, values, call.winner_type);
  const at::Tensor result = result_like(winners, values.scalar_type());
  if (values.numel() > 0) {
    call.values = read(values, "values");
    call.winners = read(winners, "winners");
    call.result = write(result);
    check_launch(gather(call, stream_of(values)));
  }
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(scnp_kernels, CUDA, library) {
  library.impl("native_forward", &forward_op);
  library.impl("native_scatter", &scatter_op);
  library.impl("native_gather", &gather_op);
}

}  // namespace scnp::cuda
