// The gradient of a register of pixels' logits: the definitions of DiceCEGradient.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>

#include "../../contract/calls.h"
#include "../memory/scratch.h"
#include "../tiling/class_codes-inl.h"
#include "../vector/math-inl.h"
#include "focal-inl.h"
#include "pixel_loss-inl.h"
#include "sigmoid-inl.h"
#include "softmax-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

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

template class DiceCEGradient<float>;
template class DiceCEGradient<double>;

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
