// The fused loss of one instruction set, compiled for logits of every type.
#pragma once

#include "prologue.h"

#if SCNP_HAS_TARGET

#include "../../contract/calls.h"
#include "../dice_ce/backward-inl.h"
#include "../dice_ce/forward-inl.h"
#include "../kernels.h"
#include "../vector/half_floats-inl.h"

namespace scnp::cpu::SCNP_TARGET {

template Fault dice_ce_forward<Half>(const DiceCEForwardCall& call, const Workers& workers);
template Fault dice_ce_forward<float>(const DiceCEForwardCall& call, const Workers& workers);
template Fault dice_ce_forward<double>(const DiceCEForwardCall& call, const Workers& workers);
template void dice_ce_backward<Half>(const DiceCEBackwardCall& call, const Workers& workers);
template void dice_ce_backward<float>(const DiceCEBackwardCall& call, const Workers& workers);
template void dice_ce_backward<double>(const DiceCEBackwardCall& call, const Workers& workers);

}  // namespace scnp::cpu::SCNP_TARGET

#endif  // SCNP_HAS_TARGET
