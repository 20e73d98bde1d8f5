// The loops that all kernels of one instruction set call, and the table of the kernels.
#pragma once

#include "prologue.h"

#if SCNP_HAS_TARGET

#include "../../contract/calls.h"
#include "../dice_ce/gradient-inl.h"
#include "../dice_ce/statistics-inl.h"
#include "../gate/keep_own_logits-inl.h"
#include "../kernels.h"
#include "../memory/strided_rows-inl.h"
#include "../tiling/read_class_codes-inl.h"
#include "../vector/half_floats-inl.h"
#include "../vector/half_rows-inl.h"
#include "kernel_table.h"

namespace scnp::cpu::SCNP_TARGET {

// Compiled by other units of the instruction set.
template <class Key>
Fault forward(const ForwardCall& call, const Workers& workers);
template <class T>
void scatter(const ScatterCall& call, const Workers& workers);
template <class T>
Fault dice_ce_forward(const DiceCEForwardCall& call, const Workers& workers);
template <class T>
void dice_ce_backward(const DiceCEBackwardCall& call, const Workers& workers);

// T: as a logit lies in memory; Half stands for both half types.
template <class T>
TypedKernels typed_kernels() {
  return {&forward<KeyOf<T>>, &scatter<T>, &dice_ce_forward<T>, &dice_ce_backward<T>};
}

Kernels kernels() {
  return {SCNP_TEXT(SCNP_TARGET), typed_kernels<Half>(), typed_kernels<float>(),
          typed_kernels<double>()};
}

}  // namespace scnp::cpu::SCNP_TARGET

#endif  // SCNP_HAS_TARGET
