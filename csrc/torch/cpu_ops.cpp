// Tensors in, tensors out: the CPU kernels as implementations of the operators that
// scnp_kernels/ops.py declares.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "../cpu/kernels.h"
#include "result_tensors.h"
#include "tensor_views.h"

namespace scnp::cpu {
namespace {

Workers torch_threads() {
  return {at::get_num_threads(),
          [](int64_t items, const auto& body) { at::parallel_for(0, items, 1, body); }};
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
    call.gradient = read(gradient, "gradient");
    call.winners = read(winners, "winners");
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
    call.values = read(values, "values");
    call.winners = read(winners, "winners");
    call.result = write(result);
    gather(call, torch_threads());
  }
  return result;
}

DiceCECall dice_ce_call(const at::Tensor& logits, const at::Tensor& target,
                        const std::optional<at::Tensor>& mask, at::IntArrayRef kernel_size,
                        bool target_is_masks, int64_t first_class, int64_t label_count,
                        std::optional<int64_t> ignore_index, bool validate, bool softmax,
                        bool of_penalized, bool of_plain) {
  DiceCECall call;
  call.geometry = geometry_of(logits, kernel_size);
  TORCH_CHECK_VALUE(call.geometry.channels <= kMostClasses, "logits: got ", call.geometry.channels,
                    " classes, takes at most ", kMostClasses, " here");
  call.type = float_type(logits, "logits");
  call.winner_type = winner_type(call.geometry.taps());
  call.logits = read(logits, "logits");
  call.target = target_of(logits, target, mask, target_is_masks, first_class, label_count,
                          ignore_index, validate);
  call.softmax = softmax;
  call.of_penalized = of_penalized;
  call.of_plain = of_plain;
  return call;
}

std::tuple<at::Tensor, at::Tensor> dice_ce_forward_op(
    const at::Tensor& logits, const at::Tensor& target, const std::optional<at::Tensor>& mask,
    at::IntArrayRef kernel_size, bool target_is_masks, int64_t first_class, int64_t label_count,
    std::optional<int64_t> ignore_index, bool validate, bool softmax, bool of_penalized,
    bool of_plain) {
  DiceCEForwardCall call{dice_ce_call(logits, target, mask, kernel_size, target_is_masks,
                                      first_class, label_count, ignore_index, validate, softmax,
                                      of_penalized, of_plain)};
  const at::ScalarType winner = scalar_type(call.winner_type);
  const at::Tensor winners = of_penalized
                                 ? result_like(logits, winner)
                                 : at::empty({logits.size(0), 0}, logits.options().dtype(winner));
  const at::Tensor sums = at::zeros({2, kDiceCEStatistics, logits.size(0), logits.size(1)},
                                    logits.options().dtype(at::kDouble));
  if (logits.numel() > 0) {
    if (of_penalized) {
      call.winners = write(winners);
    }
    call.statistics = sums.mutable_data_ptr<double>();
    const Fault fault = dice_ce_forward(call, torch_threads());
    if (fault.found) {
      raise(fault, call.target);
    }
  }
  return {sums, winners};
}

at::Tensor dice_ce_backward_op(const at::Tensor& sums_gradient, const at::Tensor& winners,
                               const at::Tensor& logits, const at::Tensor& target,
                               const std::optional<at::Tensor>& mask, at::IntArrayRef kernel_size,
                               bool target_is_masks, int64_t first_class, int64_t label_count,
                               std::optional<int64_t> ignore_index, bool validate, bool softmax,
                               bool of_penalized, bool of_plain) {
  DiceCEBackwardCall call{dice_ce_call(logits, target, mask, kernel_size, target_is_masks,
                                       first_class, label_count, ignore_index, validate, softmax,
                                       of_penalized, of_plain)};
  TORCH_CHECK_VALUE(sums_gradient.sizes() ==
                        at::IntArrayRef({2, kDiceCEStatistics, logits.size(0), logits.size(1)}),
                    "sums_gradient: got shape ", sums_gradient.sizes(), ", takes [2, 6, B, C]");
  if (of_penalized) {
    check_winners(winners, logits, call.winner_type);
  }
  const at::Tensor logits_gradient = result_like(logits, logits.scalar_type());
  if (logits.numel() > 0) {
    const at::Tensor gradient = sums_gradient.to(at::kDouble).contiguous();
    call.statistics_gradient = gradient.const_data_ptr<double>();
    if (of_penalized) {
      call.winners = read(winners, "winners");
    }
    call.logits_gradient = write(logits_gradient);
    dice_ce_backward(call, torch_threads());
  }
  return logits_gradient;
}

}  // namespace

TORCH_LIBRARY_IMPL(scnp_kernels, CPU, library) {
  library.impl("native_forward", &forward_op);
  library.impl("native_scatter", &scatter_op);
  library.impl("native_gather", &gather_op);
  library.impl("native_dice_ce_forward", &dice_ce_forward_op);
  library.impl("native_dice_ce_backward", &dice_ce_backward_op);
}

}  // namespace scnp::cpu
