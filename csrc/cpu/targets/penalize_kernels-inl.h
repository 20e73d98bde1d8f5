// Eq. 1 of one instruction set, for logits of one width: SCNP_KEY is the integer of that width.
#pragma once

#include "prologue.h"

#if SCNP_HAS_TARGET

#include <cstdint>
#include <memory>

#include "../../contract/calls.h"
#include "../kernels.h"
#include "../penalize/choose_path-inl.h"
#include "../penalize/forward-inl.h"
#include "../penalize/penalized_planes-inl.h"

#if !defined(SCNP_KEY)
#define SCNP_KEY int32_t
#endif

namespace scnp::cpu::SCNP_TARGET {

template Fault forward<SCNP_KEY>(const ForwardCall& call, const Workers& workers);
template std::unique_ptr<PenalizedPlanes<SCNP_KEY>> choose_path<SCNP_KEY>(
    Scratch& scratch, FloatType type, WinnerType winner_type, const Geometry& geometry,
    const Tile& tile, const PlaneLayout& layout);

}  // namespace scnp::cpu::SCNP_TARGET

#endif  // SCNP_HAS_TARGET
