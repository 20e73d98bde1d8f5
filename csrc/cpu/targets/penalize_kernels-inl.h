// Eq. 1 of one target, compiled for the logits of one width: SCNP_KEY is the integer of that width.
#pragma once

#include "prologue.h"

#if SCNP_HAS_TARGET

#include <cstdint>

#include "../penalize/choose_path-inl.h"
#include "../penalize/forward-inl.h"

#if !defined(SCNP_KEY)
#define SCNP_KEY int32_t
#endif

namespace scnp::cpu::SCNP_TARGET {

template struct Penalize<SCNP_KEY>;

}  // namespace scnp::cpu::SCNP_TARGET

#endif  // SCNP_HAS_TARGET
