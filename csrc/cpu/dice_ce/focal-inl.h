// Cross entropy of a class with probability p, modulated as the focal loss does it:
//
//     (1 - p)^gamma * CE          and what the gradient of CE is multiplied by:
//     (1 - p)^gamma * (1 + gamma * p * CE / (1 - p))
//
// 1 - p is never a difference from 1, which would cancel where p is near 1 and most pixels are; nor
// is CE. Where 1 - p is below every normal number, the smallest one stands for it.
#pragma once

#include "../targets/prologue.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "../vector/lanes-inl.h"
#include "../vector/math-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// How cross entropy is multiplied: not at all, by a power of a whole or a half number, by any.
// Powers by multiplication and one root cost half of those by logarithm and exponential.
enum class Modulation : int { kNone, kHalves, kPower };

// Calls body with how cross entropy is modulated as a constant.
template <class Real, class Body>
inline void with_modulation(Real gamma, const Body& body) {
  if (gamma == 0) {
    return body(std::integral_constant<Modulation, Modulation::kNone>{});
  }
  if (gamma >= 1 && gamma <= 8 && 2 * gamma == std::floor(2 * gamma)) {
    return body(std::integral_constant<Modulation, Modulation::kHalves>{});
  }
  return body(std::integral_constant<Modulation, Modulation::kPower>{});
}

// x^(gamma - 1) and x^gamma of x in [0, 1]. log_of_x(): the logarithm of x, where it is needed.
template <Modulation kModulation, class Real>
struct Powers {
  Lanes<Real> lower;
  Lanes<Real> power;

  template <class LogOfX>
  SCNP_ALWAYS_INLINE Powers(const Lanes<Real>& x, Real gamma, const LogOfX& log_of_x) {
    using L = Lanes<Real>;
    if constexpr (kModulation == Modulation::kHalves) {
      const auto whole = static_cast<int>(gamma);
      lower = static_cast<Real>(whole) == gamma ? L::all(1) : root(x);
      for (int i = 1; i < whole; ++i) {
        lower = lower * x;
      }
      power = lower * x;
    } else {
      const L smallest = L::all(std::numeric_limits<Real>::min());
      power = exp_of_nonpositive(L::all(gamma) * log_of_x());
      lower = power / larger(smallest, x);
    }
  }
};

// Returns a cross entropy that can be multiplied by a probability of 0: that of -inf is infinite.
template <class Real>
SCNP_ALWAYS_INLINE Lanes<Real> finite_entropy(const Lanes<Real>& entropy) {
  const Lanes<Real> largest = Lanes<Real>::all(std::numeric_limits<Real>::max());
  return smaller(largest, entropy);
}

// A class in a pixel's softmax.
template <Modulation kModulation, class Real>
struct FocalOfSoftmax {
  Lanes<Real> entropy;  // modulated
  Lanes<Real> slope;

  // probability, complement: of the class, and 1 minus that; logit: of the class, below the pixel's
  // largest; log_of_total: the logarithm of the sum of all exponentials.
  SCNP_ALWAYS_INLINE FocalOfSoftmax(const Lanes<Real>& probability, const Lanes<Real>& complement,
                                    const Lanes<Real>& logit, const Lanes<Real>& log_of_total,
                                    Real gamma) {
    using L = Lanes<Real>;
    const L plain = log_of_total - logit;
    const Powers<kModulation, Real> of_complement(complement, gamma, [&] {
      return log_of_positive<ByEstrin>(
          larger(L::all(std::numeric_limits<Real>::min()), complement));
    });
    entropy = of_complement.power * plain;
    slope =
        of_complement.lower * (complement + L::all(gamma) * probability * finite_entropy(plain));
  }
};

// A class by itself, with its sigmoid.
template <Modulation kModulation, class Real>
struct FocalOfSigmoid {
  Lanes<Real> probability;  // of the class
  Lanes<Real> variance;     // p * (1 - p)
  Lanes<Real> entropy;      // modulated
  Lanes<Real> slope;        // times 1 - p, which it is multiplied by in the gradient

  // belongs: where the pixel belongs to the class.
  SCNP_ALWAYS_INLINE FocalOfSigmoid(const Lanes<Real>& logit,
                                    const typename Lanes<Real>::Mask& belongs, Real gamma) {
    using L = Lanes<Real>;
    const L zero = L::all(0);
    const L one = L::all(1);
    const L margin = select(belongs, logit, zero - logit);
    const auto negative = margin < zero;
    const L e = exp_of_nonpositive(select(negative, margin, zero - margin));
    const L larger = one / (one + e);
    const L smaller = e * larger;
    const L p = select(negative, smaller, larger);
    const L complement = select(negative, larger, smaller);
    const L log_of_total = minus_log_of_complement(smaller);
    const L plain = select(negative, zero - margin, zero) + log_of_total;
    const Powers<kModulation, Real> of_complement(
        complement, gamma, [&] { return select(negative, zero, zero - margin) - log_of_total; });
    probability = select(belongs, p, complement);
    variance = smaller * larger;
    entropy = of_complement.power * plain;
    slope = of_complement.power * (complement + L::all(gamma) * p * finite_entropy(plain));
  }
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
