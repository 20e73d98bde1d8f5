#include "operators.h"

namespace scnp::python {

ForwardCall forward_call(Facts logits_facts, Facts target_facts, Facts mask, Facts gate,
                         const Window& kernel_size, const Labels& labels, Facts penalized,
                         Facts winners) {
  const Tensor logits("logits", logits_facts);
  const Tensor target("target", target_facts);
  ForwardCall call;
  call.geometry = geometry_of(logits, kernel_size);
  call.type = float_type(logits);
  call.winner_type = winner_type_for(call.geometry.taps());
  call.logits = read(logits);
  call.target = target_of(logits, target, mask, labels);
  call.gate = gate_of(logits, gate);
  call.penalized = write({"penalized", penalized}, logits);
  call.winners = write_winners({"winners", winners}, logits, call.winner_type);
  return call;
}

ScatterCall scatter_call(Facts gradient_facts, Facts winners, const Window& kernel_size,
                         Facts logits_gradient) {
  const Tensor gradient("gradient", gradient_facts);
  ScatterCall call;
  call.geometry = geometry_of(gradient, kernel_size);
  call.type = float_type(gradient);
  call.winner_type = winner_type_for(call.geometry.taps());
  call.winners = read_winners({"winners", winners}, gradient, call.winner_type);
  call.gradient = read(gradient);
  call.logits_gradient = write({"logits_gradient", logits_gradient}, gradient);
  return call;
}

GatherCall gather_call(Facts values_facts, Facts winners, const Window& kernel_size, Facts result) {
  const Tensor values("values", values_facts);
  GatherCall call;
  call.geometry = geometry_of(values, kernel_size);
  call.type = float_type(values);
  call.winner_type = winner_type_for(call.geometry.taps());
  call.winners = read_winners({"winners", winners}, values, call.winner_type);
  call.values = read(values);
  call.result = write({"result", result}, values);
  return call;
}

}  // namespace scnp::python
