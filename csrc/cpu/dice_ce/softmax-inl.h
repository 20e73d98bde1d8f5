// Softmax of a register of pixels, and the modulated cross entropy made of it. What is kept for
// each class stays in registers where the number of classes is a common one.
#pragma once

#include "../targets/prologue.h"

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../vector/math-inl.h"
#include "focal-inl.h"
#include "pixel_loss-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Calls body with the number of classes as a constant where it is a common one, so that what is
// kept for each class stays in registers. 0 stands for any other number. Modulated double precision
// and powers of any number do without: they cost more than memory does, and each constant costs
// seconds of compiling.
template <class Real, Modulation kModulation, class Body>
inline void with_class_count(int64_t classes, const Body& body) {
  constexpr bool kIsCheap = kModulation == Modulation::kNone ||
                            (kModulation == Modulation::kHalves && std::is_same_v<Real, float>);
  if constexpr (kIsCheap) {
    switch (classes) {
      case 2:
        return body(std::integral_constant<int, 2>{});
      case 3:
        return body(std::integral_constant<int, 3>{});
      case 4:
        return body(std::integral_constant<int, 4>{});
      default:
        break;
    }
  }
  return body(std::integral_constant<int, 0>{});
}
template <int kFixed, class Body>
inline void each_class([[maybe_unused]] int64_t classes, const Body& body) {
  if constexpr (kFixed > 0) {
    [&]<int... k>(std::integer_sequence<int, k...> /*classes*/) {
      (body(std::integral_constant<int, k>{}), ...);
    }(std::make_integer_sequence<int, kFixed>{});
  } else {
    for (int64_t k = 0; k < classes; ++k) {
      body(k);
    }
  }
}

// One T for each class: in registers, or where the number of classes is no constant, in `memory`.
template <int kFixed, class T>
struct OfClasses {
  std::array<T, kFixed> values;
  explicit OfClasses(T* /*memory*/) {
  }
  T& operator[](int64_t k) {
    return values[k];
  }
};
template <class T>
struct OfClasses<0, T> {
  T* values;
  explicit OfClasses(T* memory) : values(memory) {
  }
  T& operator[](int64_t k) {
    return values[k];
  }
};

// The parts of a softmax, of a register of pixels.
template <int kFixed, class Real>
struct Softmax {
  OfClasses<kFixed, Lanes<Real>> logit;        // minus the pixel's largest
  OfClasses<kFixed, Lanes<Real>> exponential;  // of `logit`
  Lanes<Real> total;                           // of the exponentials

  // memory: [2, C].
  Softmax(const PixelLogits<Real>& logits, int64_t i, int64_t classes, Lanes<Real>* memory)
      : logit(memory), exponential(memory + classes) {
    if constexpr (kFixed == 2 || kFixed == 3) {
      leave_out_largest(logits, i);
    } else {
      Lanes<Real> most;
      each_class<kFixed>(classes, [&](auto k) {
        logit[k] = logits.of(k, i);
        most = k == 0 ? logit[k] : larger(logit[k], most);
      });
      each_class<kFixed>(classes, [&](auto k) {
        logit[k] = logit[k] - most;
        exponential[k] = exp_of_nonpositive(logit[k]);
      });
    }
    total = Lanes<Real>::all(0);
    each_class<kFixed>(classes, [&](auto k) { total = total + exponential[k]; });
  }

 private:
  // One exponential in two or three is that of 0, the largest logit's, and need not be computed.
  // With more classes, finding out whose it is costs more than that.
  //
  //     logits          2  5  3
  //     most so far     2  5  5         the smaller of it and the next logit: 2, 3
  //     exponentials    e(2-5), e(3-5), and from the last class back to the first, what the most so
  //                     far has: 1 after class 2, which keeps e(3-5); class 1 is larger than what
  //                     was before and takes the 1, and leaves e(2-5) to class 0
  void leave_out_largest(const PixelLogits<Real>& logits, int64_t i) {
    using L = Lanes<Real>;
    typename L::Mask is_larger[kFixed];  // than the classes before
    L most = logits.of(0, i);
    logit[0] = most;
    each_class<kFixed>(kFixed, [&](auto k) {
      if constexpr (k > 0) {
        logit[k] = logits.of(k, i);
        is_larger[k] = most < logit[k];
        exponential[k] = smaller(most, logit[k]);
        most = larger(logit[k], most);
      }
    });
    // Where the largest logit is infinite, its exponential is NaN.
    L of_most = L::all(1) + (most - most);
    each_class<kFixed>(kFixed, [&](auto k) { logit[k] = logit[k] - most; });
    each_class<kFixed>(kFixed, [&](auto j) {
      constexpr int k = kFixed - 1 - j;
      if constexpr (k > 0) {
        const L of_smaller = exp_of_nonpositive(exponential[k] - most);
        exponential[k] = select(is_larger[k], of_most, of_smaller);
        of_most = select(is_larger[k], of_smaller, of_most);
      }
    });
    exponential[0] = of_most;
  }
};

// Calls body(k, focal) for every class with the pixels' modulated cross entropy, which means
// something where a pixel belongs to the class. A label map's pixels belong to one class, so one
// modulation serves all.
template <Modulation kModulation, int kFixed, class Real, class Body>
SCNP_ALWAYS_INLINE void each_focal(Softmax<kFixed, Real>& softmax, const Lanes<Real>& reciprocal,
                                   const PixelCodes<Real>& codes, int64_t i, int64_t classes,
                                   Real gamma, const Body& body) {
  using L = Lanes<Real>;
  using Focal = FocalOfSoftmax<kModulation, Real>;
  const L zero = L::all(0);
  if constexpr (kFixed == 2) {
    // Either class is all that the other one lacks, and the smaller one what the total has
    // beside 1.
    const L first = softmax.exponential[0] * reciprocal;
    const L second = softmax.exponential[1] * reciprocal;
    const L log_of_total = minus_log_of_complement(select(first < second, first, second));
    if (codes.per_class == 0) {
      const auto is_second = codes.of(1, i) == codes.foreground(1);
      const Focal focal(select(is_second, second, first), select(is_second, first, second),
                        select(is_second, softmax.logit[1], softmax.logit[0]), log_of_total, gamma);
      each_class<kFixed>(classes, [&](auto k) { body(k, focal); });
    } else {
      body(0, Focal(first, second, softmax.logit[0], log_of_total, gamma));
      body(1, Focal(second, first, softmax.logit[1], log_of_total, gamma));
    }
    return;
  }
  const L one = L::all(1);
  // others: the sum of the other classes' exponentials; rest: of all but the largest, of which
  // something may be lost where it is not small beside 1.
  const auto focal_of = [&](const L& exponential, const L& logit, const L& others, const L& rest) {
    L log_of_total;
    if constexpr (kFixed > 0) {
      // The total is at most 4. Above 2, half of it is in [1, 2].
      const auto above = one < rest;
      log_of_total = keep_where(above, L::all(static_cast<Real>(0.6931471805599453))) +
                     minus_log_of_complement(select(above, rest - one, rest) * reciprocal);
    } else {
      const L lost = (rest - (softmax.total - one)) * reciprocal;
      log_of_total = log_of_positive<ByEstrin>(softmax.total) + lost;
    }
    return Focal(exponential * reciprocal, others * reciprocal, logit, log_of_total, gamma);
  };
  if (codes.per_class == 0) {
    L exponential = zero;
    L logit = zero;
    L others = zero;
    each_class<kFixed>(classes, [&](auto k) {
      const auto code = codes.of(k, i);
      const auto is_foreground = code == codes.foreground(k);
      exponential = exponential + keep_where(is_foreground, softmax.exponential[k]);
      logit = logit + keep_where(is_foreground, softmax.logit[k]);
      others = others + keep_where(code != codes.foreground(k), softmax.exponential[k]);
    });
    const L rest = select(logit == zero, others, softmax.total - one);
    const Focal focal = focal_of(exponential, logit, others, rest);
    each_class<kFixed>(classes, [&](auto k) { body(k, focal); });
    return;
  }
  // A class with the largest logit, whose exponential is 1, is the only one that the total may be
  // near: there the others are added up, elsewhere a difference loses nothing.
  L rest = zero;
  L largest = zero;
  each_class<kFixed>(classes, [&](auto k) {
    rest = rest + keep_where(softmax.logit[k] != zero, softmax.exponential[k]);
    largest = largest + keep_where(softmax.logit[k] == zero, one);
  });
  rest = rest + (largest - one);
  each_class<kFixed>(classes, [&](auto k) {
    const L others = select(softmax.logit[k] == zero, rest, softmax.total - softmax.exponential[k]);
    body(k, focal_of(softmax.exponential[k], softmax.logit[k], others, rest));
  });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
