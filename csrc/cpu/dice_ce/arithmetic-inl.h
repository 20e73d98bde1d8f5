// Probabilities, the statistics made of them, and the gradient of these, for a register of pixels
// at a time: the definitions behind pixel_loss-inl.h.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../../contract/calls.h"
#include "../memory/scratch.h"
#include "../tiling/class_codes-inl.h"
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

template <class Real>
DiceCEAccumulator<Real>::DiceCEAccumulator(Scratch& scratch, int64_t classes, double gamma)
    : classes_(classes),
      gamma_(static_cast<Real>(gamma)),
      memory_(scratch.array<Lanes<Real>>((2 + kRows) * classes)),
      totals_(scratch.array<double>(classes * kRows * kGroup)),
      foreground_(scratch.array<int64_t>(classes)),
      valid_(scratch.array<int64_t>(classes)) {
  clear();
}

template <class Real>
void DiceCEAccumulator<Real>::add(const PixelLogits<Real>& logits, const PixelCodes<Real>& codes,
                                  int64_t groups, bool softmax) {
  with_modulation(gamma_, [&](auto modulation) {
    for (int64_t lane = 0; lane < kGroup; lane += kLanes) {
      if (!softmax) {
        this->template add_sigmoid<modulation>(logits, codes, groups, lane);
        continue;
      }
      with_class_count<Real, modulation>(classes_, [&](auto fixed) {
        this->template add_softmax<fixed, modulation>(logits, codes, groups, lane);
      });
    }
  });
}

template <class Real>
void DiceCEAccumulator<Real>::finish_chunk(double* statistics) {
  constexpr DiceCEStatistic of_row[kRows] = {kIntersection, kProbability, kForegroundEntropy,
                                             kBackgroundEntropy};
  for (int64_t k = 0; k < classes_; ++k) {
    for (int row = 0; row < kRows; ++row) {
      const double* lanes = totals_ + (k * kRows + row) * kGroup;
      double total = 0;
      for (int64_t i = 0; i < kGroup; ++i) {
        total += lanes[i];
      }
      statistics[of_row[row] * classes_ + k] += total;
    }
    statistics[kForegroundPixels * classes_ + k] += static_cast<double>(foreground_[k]);
    statistics[kValidPixels * classes_ + k] += static_cast<double>(valid_[k]);
  }
  clear();
}

// The logarithm of a product is the sum of the logarithms, so a run of groups takes only one; but
// not where it is modulated.
template <class Real>
template <int kFixed, Modulation kModulation>
void DiceCEAccumulator<Real>::add_softmax(PixelLogits<Real> logits, PixelCodes<Real> codes,
                                          int64_t groups, int64_t lane) {
  using L = Lanes<Real>;
  L* memory = memory_ + 2 * classes_;
  OfClasses<kFixed, L> intersection(memory);
  OfClasses<kFixed, L> probability(memory + classes_);
  OfClasses<kFixed, L> foreground_logit(memory + 2 * classes_);
  OfClasses<kFixed, L> foreground_total(memory + 3 * classes_);  // a product
  OfClasses<kFixed, L>& modulated = foreground_logit;            // cross entropy, in its place
  const L one = L::all(1);
  const auto invalid = Lanes<MaskOf<Real>>::all(kInvalidPixel);
  [[maybe_unused]] const Real gamma = gamma_;
  each_class<kFixed>(classes_, [&](auto k) {
    intersection[k] = probability[k] = foreground_logit[k] = L::all(0);
    foreground_total[k] = one;
  });
  for (int64_t i = lane; i < groups * kGroup; i += kGroup) {
    Softmax<kFixed, Real> softmax(logits, i, classes_, memory_);
    const L reciprocal = one / softmax.total;
    each_class<kFixed>(classes_, [&](auto k) {
      const auto code = codes.of(k, i);
      const auto is_foreground = code == codes.foreground(k);
      const L p = softmax.exponential[k] * reciprocal;
      intersection[k] = add_where(is_foreground, intersection[k], p);
      probability[k] = add_where(code != invalid, probability[k], p);
      if constexpr (kModulation == Modulation::kNone) {
        foreground_logit[k] = add_where(is_foreground, foreground_logit[k], softmax.logit[k]);
        foreground_total[k] =
            select(is_foreground, foreground_total[k] * softmax.total, foreground_total[k]);
      }
    });
    if constexpr (kModulation != Modulation::kNone) {
      each_focal<kModulation>(
          softmax, reciprocal, codes, i, classes_, gamma, [&](auto k, const auto& focal) {
            const auto is_foreground = codes.of(k, i) == codes.foreground(k);
            modulated[k] = add_where(is_foreground, modulated[k], focal.entropy);
          });
    }
  }
  each_class<kFixed>(classes_, [&](auto k) {
    add_to(k, kI, lane, intersection[k]);
    add_to(k, kP, lane, probability[k]);
    if constexpr (kModulation == Modulation::kNone) {
      add_to(k, kE, lane, L::all(0) - foreground_logit[k]);
      add_to(k, kE, lane, log_of_positive(foreground_total[k]));
    } else {
      add_to(k, kE, lane, modulated[k]);
    }
  });
}

template <class Real>
template <Modulation kModulation>
void DiceCEAccumulator<Real>::add_sigmoid(PixelLogits<Real> logits, PixelCodes<Real> codes,
                                          int64_t groups, int64_t lane) {
  using L = Lanes<Real>;
  const L zero = L::all(0);
  const auto invalid = Lanes<MaskOf<Real>>::all(kInvalidPixel);
  const auto none = Lanes<MaskOf<Real>>::all(0);
  [[maybe_unused]] const Real gamma = gamma_;
  for (int64_t k = 0; k < classes_; ++k) {
    L statistics[kRows] = {zero, zero, zero, zero};
    for (int64_t i = lane; i < groups * kGroup; i += kGroup) {
      const auto code = codes.of(k, i);
      const auto is_foreground = code == codes.foreground(k);
      const auto valid = code != invalid;
      const auto is_background = select(is_foreground, none, valid);
      const L z = logits.of(k, i);
      if constexpr (kModulation == Modulation::kNone) {
        const L e = sigmoid_exponential(z);
        const L p = sigmoid(z, e);
        const L log_of_total = log_of_one_plus(e);
        const auto negative = z < zero;
        statistics[kI] = statistics[kI] + keep_where(is_foreground, p);
        statistics[kP] = statistics[kP] + keep_where(valid, p);
        statistics[kE] = statistics[kE] +
                         keep_where(is_foreground, keep_where(negative, zero - z) + log_of_total);
        statistics[kN] =
            statistics[kN] + keep_where(is_background, select(negative, zero, z) + log_of_total);
      } else {
        const FocalOfSigmoid<kModulation, Real> focal(z, is_foreground, gamma);
        statistics[kI] = statistics[kI] + keep_where(is_foreground, focal.probability);
        statistics[kP] = statistics[kP] + keep_where(valid, focal.probability);
        statistics[kE] = statistics[kE] + keep_where(is_foreground, focal.entropy);
        statistics[kN] = statistics[kN] + keep_where(is_background, focal.entropy);
      }
    }
    for (int row = 0; row < kRows; ++row) {
      add_to(k, row, lane, statistics[row]);
    }
  }
}

template <class Real>
void DiceCEAccumulator<Real>::add_to(int64_t k, int row, int64_t lane, const Lanes<Real>& lanes) {
  double* totals = totals_ + (k * kRows + row) * kGroup + lane;
  Real values[kLanes];
  lanes.store(values);
  SCNP_VECTORIZE
  for (int64_t i = 0; i < kLanes; ++i) {
    totals[i] += static_cast<double>(values[i]);
  }
}

template <class Real>
void DiceCEAccumulator<Real>::clear() {
  std::fill_n(totals_, classes_ * kRows * kGroup, 0.0);
  std::fill_n(foreground_, classes_, int64_t{0});
  std::fill_n(valid_, classes_, int64_t{0});
}

template <class Real>
DiceCEGradient<Real>::DiceCEGradient(Scratch& scratch, int64_t classes, double gamma)
    : classes_(classes),
      gamma_(static_cast<Real>(gamma)),
      memory_(scratch.array<Lanes<Real>>(6 * classes)),
      gradient_(scratch.array<Real>(kDiceCEStatistics * classes)) {
}

template <class Real>
void DiceCEGradient<Real>::start(const double* statistics_gradient, const Geometry& geometry,
                                 int term, int64_t image) {
  for (int statistic = 0; statistic < kDiceCEStatistics; ++statistic) {
    for (int64_t k = 0; k < classes_; ++k) {
      gradient_[statistic * classes_ + k] = static_cast<Real>(
          statistics_gradient[index_of_statistic(geometry, term, statistic, image, k)]);
    }
  }
}

template <class Real>
void DiceCEGradient<Real>::find(const PixelLogits<Real>& logits, const PixelCodes<Real>& codes,
                                int64_t groups, bool softmax, Real* result, int64_t stride) const {
  with_modulation(gamma_, [&](auto modulation) {
    if (!softmax) {
      return this->template of_sigmoid<modulation>(logits, codes, groups, result, stride);
    }
    with_class_count<Real, modulation>(classes_, [&](auto fixed) {
      this->template of_softmax<fixed, modulation>(logits, codes, groups, result, stride);
    });
  });
}

template <class Real>
template <int kFixed, Modulation kModulation>
void DiceCEGradient<Real>::of_softmax(PixelLogits<Real> logits, PixelCodes<Real> codes,
                                      int64_t groups, Real* result, int64_t stride) const {
  using L = Lanes<Real>;
  const auto invalid = Lanes<MaskOf<Real>>::all(kInvalidPixel);
  // Copies: the result may be stored over anything that lies behind a pointer.
  OfClasses<kFixed, L> of_background(memory_ + 2 * classes_);
  OfClasses<kFixed, L> of_foreground(memory_ + 3 * classes_);
  OfClasses<kFixed, L> of_positive(memory_ + 4 * classes_);
  OfClasses<kFixed, L> modulated(memory_ + 5 * classes_);  // of_positive, at a register of pixels
  [[maybe_unused]] const Real gamma = gamma_;
  each_class<kFixed>(classes_, [&](auto k) {
    of_background[k] = of(kProbability, k);
    of_foreground[k] = of(kProbability, k) + of(kIntersection, k);
    of_positive[k] = of(kForegroundEntropy, k);
  });
  for (int64_t i = 0; i < groups * kGroup; i += kLanes) {
    Softmax<kFixed, Real> softmax(logits, i, classes_, memory_);
    const L reciprocal = L::all(1) / softmax.total;
    L shared = L::all(0);    // sum of y * dE - sum of p * a
    L weighted = L::all(0);  // sum of e * a
    if constexpr (kModulation != Modulation::kNone) {
      each_focal<kModulation>(
          softmax, reciprocal, codes, i, classes_, gamma,
          [&](auto k, const auto& focal) { modulated[k] = of_positive[k] * focal.slope; });
    }
    auto& of_entropy = kModulation == Modulation::kNone ? of_positive : modulated;
    each_class<kFixed>(classes_, [&](auto k) {
      const auto is_foreground = codes.of(k, i) == codes.foreground(k);
      weighted = weighted +
                 softmax.exponential[k] * select(is_foreground, of_foreground[k], of_background[k]);
      shared = shared + keep_where(is_foreground, of_entropy[k]);
    });
    shared = shared - weighted * reciprocal;
    each_class<kFixed>(classes_, [&](auto k) {
      const auto code = codes.of(k, i);
      const auto is_foreground = code == codes.foreground(k);
      const L gradient = softmax.exponential[k] * reciprocal *
                             (select(is_foreground, of_foreground[k], of_background[k]) + shared) -
                         keep_where(is_foreground, of_entropy[k]);
      keep_where(code != invalid, gradient).store(result + k * stride + i);
    });
  }
}

template <class Real>
template <Modulation kModulation>
void DiceCEGradient<Real>::of_sigmoid(PixelLogits<Real> logits, PixelCodes<Real> codes,
                                      int64_t groups, Real* result, int64_t stride) const {
  using L = Lanes<Real>;
  const L zero = L::all(0);
  const auto invalid = Lanes<MaskOf<Real>>::all(kInvalidPixel);
  [[maybe_unused]] const Real gamma = gamma_;
  for (int64_t k = 0; k < classes_; ++k) {
    for (int64_t i = 0; i < groups * kGroup; i += kLanes) {
      const auto code = codes.of(k, i);
      const auto is_foreground = code == codes.foreground(k);
      const L z = logits.of(k, i);
      L gradient;
      if constexpr (kModulation == Modulation::kNone) {
        const L e = sigmoid_exponential(z);
        const L p = sigmoid(z, e);
        const L q = sigmoid(zero - z, e);  // 1 - p, exactly where p is near 1
        gradient = p * q * of_probability(k, is_foreground) -
                   q * keep_where(is_foreground, of(kForegroundEntropy, k)) +
                   p * select(is_foreground, zero, of(kBackgroundEntropy, k));
      } else {
        const FocalOfSigmoid<kModulation, Real> focal(z, is_foreground, gamma);
        gradient = focal.variance * of_probability(k, is_foreground) +
                   focal.slope * select(is_foreground, zero - of(kForegroundEntropy, k),
                                        of(kBackgroundEntropy, k));
      }
      keep_where(code != invalid, gradient).store(result + k * stride + i);
    }
  }
}

template class DiceCEAccumulator<float>;
template class DiceCEAccumulator<double>;
template class DiceCEGradient<float>;
template class DiceCEGradient<double>;

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
