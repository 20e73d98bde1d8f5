// The sigmoid of a register of logits, and the logarithm that its cross entropy needs.
#pragma once

#include "../targets/prologue.h"

#include "../vector/math-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Returns e^-|z|, of which a sigmoid is made so that nothing overflows.
template <class Real>
inline Lanes<Real> sigmoid_exponential(const Lanes<Real>& z) {
  const Lanes<Real> zero = Lanes<Real>::all(0);
  return exp_of_nonpositive(select(z < zero, z, zero - z));
}
template <class Real>
inline Lanes<Real> sigmoid(const Lanes<Real>& z, const Lanes<Real>& exponential) {
  const Lanes<Real> one = Lanes<Real>::all(1);
  return select(z < Lanes<Real>::all(0), exponential, one) / (one + exponential);
}

// Returns log(1 + e) for e in [0, 1], without losing a small e.
template <class Real>
inline Lanes<Real> log_of_one_plus(const Lanes<Real>& e) {
  const Lanes<Real> one = Lanes<Real>::all(1);
  const Lanes<Real> one_plus = one + e;
  return log_of_positive(one_plus) + (e - (one_plus - one)) / one_plus;
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
