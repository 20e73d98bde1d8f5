// Choosing between two numbers without a branch, in loops that vectorise.
#pragma once

#include "../targets/prologue.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Returns `b` where the mask is all ones, `a` where it is zero. Written with bits, because
// compilers turn the conditional expression into a branch around a store, which does not vectorise.
template <class Lane>
inline Lane blend(Lane a, Lane b, Lane mask) {
  return static_cast<Lane>(a ^ ((a ^ b) & mask));
}

// Returns all ones or zero, as wide as the numbers that it selects.
template <class Lane>
inline Lane lane_mask(bool condition) {
  return static_cast<Lane>(-static_cast<Lane>(condition));
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
