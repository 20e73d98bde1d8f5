// The CPU kernels' entrances. They know nothing of torch: the binding hands in pointers, strides
// and a way to run work in parallel.
#pragma once

#include <cstdint>
#include <functional>

#include "../contract/calls.h"

namespace scnp::cpu {

// Runs body(begin, end) over [0, items) on up to `count` threads.
struct Workers {
  int64_t count = 1;
  std::function<void(int64_t items, const std::function<void(int64_t, int64_t)>& body)> run;
};

// Returns the first pixel whose target is not permitted, if the call asks for validation.
Fault forward(const ForwardCall& call, const Workers& workers);
void scatter(const ScatterCall& call, const Workers& workers);
void gather(const GatherCall& call, const Workers& workers);
// Both take at most kMostClasses classes.
Fault dice_ce_forward(const DiceCEForwardCall& call, const Workers& workers);
void dice_ce_backward(const DiceCEBackwardCall& call, const Workers& workers);

}  // namespace scnp::cpu
