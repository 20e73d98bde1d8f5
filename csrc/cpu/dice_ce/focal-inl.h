// Cross entropy of a class with probability p, modulated as the focal loss does it:
//
//     (1 - p)^gamma * CE          and what the gradient of CE is multiplied by:
//     (1 - p)^gamma * (1 + gamma * p * CE / (1 - p))
//
// 1 - p is never a difference from 1, which would cancel where p is near 1 and most pixels are; nor
// is CE. Where 1 - p is below every normal number, the smallest one stands for it.
#pragma once

#include "../targets/prologue.h"

#include <limits>
#include <type_traits>

#include "../vector/lanes-inl.h"
#include "../vector/math-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

enum class Modulation { kNone, kSquare, kPower };

// Calls body with how cross entropy is modulated as a constant.
template <class Real, class Body>
inline void with_modulation(Real gamma, const Body& body) {
  if (gamma == 0) {
    return body(std::integral_constant<Modulation, Modulation::kNone>{});
  }
  if (gamma == 2) {
    return body(std::integral_constant<Modulation, Modulation::kSquare>{});
  }
  return body(std::integral_constant<Modulation, Modulation::kPower>{});
}

// Returns a cross entropy that can be multiplied by a probability of 0: that of -inf is infinite.
template <class Real>
SCNP_ALWAYS_INLINE Lanes<Real> finite_entropy(const Lanes<Real>& entropy) {
  const Lanes<Real> largest = Lanes<Real>::all(std::numeric_limits<Real>::max());
  return select(largest < entropy, largest, entropy);
}

// A class in a pixel's softmax. What the exponentials of logits are divided by is `total`.
template <Modulation kModulation, class Real>
struct FocalOfSoftmax {
  Lanes<Real> entropy;  // modulated
  Lanes<Real> slope;

  // exponential, logit: of the class, the latter below the pixel's largest; others: the sum of the
  // other classes' exponentials; reciprocal: of `total`.
  SCNP_ALWAYS_INLINE FocalOfSoftmax(const Lanes<Real>& exponential, const Lanes<Real>& logit,
                                    const Lanes<Real>& others, const Lanes<Real>& total,
                                    const Lanes<Real>& reciprocal, Real gamma) {
    using L = Lanes<Real>;
    const L smallest = L::all(std::numeric_limits<Real>::min());
    L complement = others * reciprocal;
    complement = select(complement < smallest, smallest, complement);
    // `total` has lost the others where they are small beside the class.
    const L lost = (others - (total - exponential)) * reciprocal;
    const L plain = log_of_positive(total) + lost - logit;
    const L power = kModulation == Modulation::kSquare
                        ? complement * complement
                        : exp_of_nonpositive(L::all(gamma) * log_of_positive(complement));
    entropy = power * plain;
    slope = power + L::all(gamma) * (exponential * reciprocal) * finite_entropy(plain) *
                        (power / complement);
  }
};

// A class by itself, with its sigmoid. `margin` is the logit where the pixel belongs to the class,
// and minus the logit where it does not.
template <Modulation kModulation, class Real>
struct FocalOfSigmoid {
  Lanes<Real> entropy;  // modulated
  Lanes<Real> slope;    // times 1 - p, which it is multiplied by in the gradient

  // p, complement: sigmoids of the margin and of minus the margin; log_of_total: log(1 + e^-|z|).
  SCNP_ALWAYS_INLINE FocalOfSigmoid(const Lanes<Real>& margin, const Lanes<Real>& p,
                                    const Lanes<Real>& complement, const Lanes<Real>& log_of_total,
                                    Real gamma) {
    using L = Lanes<Real>;
    const L zero = L::all(0);
    const auto negative = margin < zero;
    const L plain = select(negative, zero - margin, zero) + log_of_total;
    L power = complement * complement;
    if constexpr (kModulation != Modulation::kSquare) {
      const L log_of_complement = select(negative, zero, zero - margin) - log_of_total;
      power = exp_of_nonpositive(L::all(gamma) * log_of_complement);
    }
    entropy = power * plain;
    slope = power * (complement + L::all(gamma) * p * finite_entropy(plain));
  }
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
