// The statistics of a register of pixels, added up: the definitions of DiceCEAccumulator.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
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

template class DiceCEAccumulator<float>;
template class DiceCEAccumulator<double>;

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
