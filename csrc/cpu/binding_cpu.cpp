// Tensors in, tensors out: the CPU kernels as implementations of the operators that
// scnp_kernels/ops.py declares.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "../torch_tensors.h"
#include "huge_pages.h"
#include "kernels.h"

namespace scnp::cpu {
namespace {

Workers torch_threads() {
  return {at::get_num_threads(),
          [](int64_t items, const auto& body) { at::parallel_for(0, items, 1, body); }};
}

// A new tensor of the same shape and memory format.
at::Tensor result_like(const at::Tensor& tensor, at::ScalarType type) {
  at::Tensor result = at::empty_like(tensor, tensor.options().dtype(type));
  prefer_huge_pages(result.mutable_data_ptr(), result.nbytes());
  return result;
}

std::tuple<at::Tensor, at::Tensor> forward_op(const at::Tensor& logits, const at::Tensor& target,
                                              const std::optional<at::Tensor>& mask,
                                              at::IntArrayRef kernel_size, bool target_is_masks,
                                              int64_t first_class, int64_t label_count,
                                              std::optional<int64_t> ignore_index, bool validate) {
  const ForwardTensors tensors =
      forward_tensors(logits, target, mask, kernel_size, target_is_masks, first_class, label_count,
                      ignore_index, validate, result_like);
  if (logits.numel() > 0) {
    const Fault fault = forward(tensors.call, torch_threads());
    if (fault.found) {
      raise(fault, tensors.call.target);
    }
  }
  return {tensors.penalized, tensors.winners};
}

at::Tensor scatter_op(const at::Tensor& gradient, const at::Tensor& winners,
                      at::IntArrayRef kernel_size) {
  ScatterCall call;
  call.geometry = geometry_of(gradient, kernel_size);
  call.type = float_type(gradient, "gradient");
  call.winner_type = winner_type(call.geometry.taps());
  check_winners(winners, gradient, call.winner_type);
  // The winners have the memory format of the logits, and so has the logits' gradient.
  const at::Tensor logits_gradient = result_like(winners, gradient.scalar_type());
  if (gradient.numel() > 0) {
    call.gradient = read(gradient);
    call.winners = read(winners);
    call.logits_gradient = write(logits_gradient);
    scatter(call, torch_threads());
  }
  return logits_gradient;
}

at::Tensor gather_op(const at::Tensor& values, const at::Tensor& winners,
                     at::IntArrayRef kernel_size) {
  GatherCall call;
  call.geometry = geometry_of(values, kernel_size);
  call.type = float_type(values, "values");
  call.winner_type = winner_type(call.geometry.taps());
  check_winners(winners, values, call.winner_type);
  const at::Tensor result = result_like(winners, values.scalar_type());
  if (values.numel() > 0) {
    call.values = read(values);
    call.winners = read(winners);
    call.result = write(result);
    gather(call, torch_threads());
  }
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(scnp_kernels, CPU, library) {
  library.impl("native_forward", &forward_op);
  library.impl("native_scatter", &scatter_op);
  library.impl("native_gather", &gather_op);
}

}  // namespace scnp::cpu
