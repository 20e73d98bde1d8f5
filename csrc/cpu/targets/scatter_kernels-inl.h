// Eq. 2 of one instruction set, compiled for gradients of every type.
#pragma once

#include "prologue.h"

#if SCNP_HAS_TARGET

#include "../../contract/calls.h"
#include "../kernels.h"
#include "../scatter/scatter-inl.h"
#include "../vector/half_floats-inl.h"

namespace scnp::cpu::SCNP_TARGET {

template void scatter<Half>(const ScatterCall& call, const Workers& workers);
template void scatter<float>(const ScatterCall& call, const Workers& workers);
template void scatter<double>(const ScatterCall& call, const Workers& workers);

}  // namespace scnp::cpu::SCNP_TARGET

#endif  // SCNP_HAS_TARGET
