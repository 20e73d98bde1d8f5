// The statistics that Dice and cross entropy are made of, taken from rows of pixels a register at a
// time with all their classes, and the gradient that these statistics send back to the logits.
//
//     pixels          0 1 2 ... 15  16 ...
//     class 0         . . .      .          a pixel's logits are read once; until its statistics or
//     class 1         . . .      .          its gradient are there, everything stays in registers
//
// Pixels come in groups of sixteen, and are added up as these are, lane by lane: where a register
// holds fewer, one part of every group after the other.
//
// A pixel's code says for each class whether it is foreground, background or invalid; invalid
// pixels (and those behind the last one) count for nothing, whatever their logits hold.
//
// The definitions stand in statistics-inl.h and gradient-inl.h, compiled once for all kernels.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>

#include "../../contract/calls.h"
#include "../memory/scratch.h"
#include "../vector/lanes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// The codes of pixels for every class, as wide as the numbers that they choose from: a label map's
// are the same for all classes.
template <class Real>
struct PixelCodes {
  const MaskOf<Real>* codes = nullptr;  // of class 0
  int64_t per_class = 0;                // from a class's codes to the next one's; 0: a label map

  Lanes<MaskOf<Real>> of(int64_t k, int64_t i) const {
    return Lanes<MaskOf<Real>>::load(codes + k * per_class + i);
  }
  // The code of class k's foreground.
  Lanes<MaskOf<Real>> foreground(int64_t k) const {
    return Lanes<MaskOf<Real>>::all(static_cast<MaskOf<Real>>(per_class == 0 ? k : 0));
  }
};

// Logits of one term: [n] of class k at logits + k * per_class.
template <class Real>
struct PixelLogits {
  const Real* logits = nullptr;
  int64_t per_class = 0;

  Lanes<Real> of(int64_t k, int64_t i) const {
    return Lanes<Real>::load(logits + k * per_class + i);
  }
};

enum class Modulation : int;  // of cross entropy by gamma: focal-inl.h

// The statistics of one term (the penalized logits, or the plain ones) over a chunk of pixels: a
// few groups are added up lane by lane, then added to the lanes in double precision.
template <class Real>
class DiceCEAccumulator {
 public:
  // The most groups that are added up in single precision: the product of 16 totals stays finite.
  static constexpr int64_t kRun = 16;

  DiceCEAccumulator(Scratch& scratch, int64_t classes, double gamma);

  // Adds `groups` of pixels, at most kRun.
  void add(const PixelLogits<Real>& logits, const PixelCodes<Real>& codes, int64_t groups,
           bool softmax);
  // Adds pixels of class k that were counted elsewhere.
  void count(int64_t k, int64_t foreground, int64_t valid) {
    foreground_[k] += foreground;
    valid_[k] += valid;
  }
  // Adds the chunk's statistics to those of an image, [kDiceCEStatistics, C], and begins a new
  // chunk.
  void finish_chunk(double* statistics);

 private:
  enum Row { kI, kP, kE, kN, kRows };  // intersection, probability, the two entropies

  // Of every group, the kLanes pixels from `lane` on.
  template <int kFixed, Modulation kModulation>
  void add_softmax(PixelLogits<Real> logits, PixelCodes<Real> codes, int64_t groups, int64_t lane);
  template <Modulation kModulation>
  void add_sigmoid(PixelLogits<Real> logits, PixelCodes<Real> codes, int64_t groups, int64_t lane);
  void add_to(int64_t k, int row, int64_t lane, const Lanes<Real>& lanes);
  void clear();

  int64_t classes_;
  Real gamma_;           // of the modulation of cross entropy; 0: as it is
  Lanes<Real>* memory_;  // [2 + kRows, C], if the number of classes is no constant
  double* totals_;       // [C, kRows, 16]
  int64_t* foreground_;  // [C], pixels
  int64_t* valid_;       // [C], pixels
};

// The gradient of the statistics of one image and term, and from it that of pixels' logits.
template <class Real>
class DiceCEGradient {
 public:
  DiceCEGradient(Scratch& scratch, int64_t classes, double gamma);

  // statistics_gradient: [2, kDiceCEStatistics, B, C].
  void start(const double* statistics_gradient, const Geometry& geometry, int term, int64_t image);
  // Writes the gradient of `groups` of pixels: [groups * 16] of class k at result + k * stride.
  void find(const PixelLogits<Real>& logits, const PixelCodes<Real>& codes, int64_t groups,
            bool softmax, Real* result, int64_t stride) const;

 private:
  template <int kFixed, Modulation kModulation>
  void of_softmax(PixelLogits<Real> logits, PixelCodes<Real> codes, int64_t groups, Real* result,
                  int64_t stride) const;
  template <Modulation kModulation>
  void of_sigmoid(PixelLogits<Real> logits, PixelCodes<Real> codes, int64_t groups, Real* result,
                  int64_t stride) const;
  Lanes<Real> of(DiceCEStatistic statistic, int64_t k) const {
    return Lanes<Real>::all(gradient_[statistic * classes_ + k]);
  }
  // Returns the gradient of a pixel's probability of class k.
  Lanes<Real> of_probability(int64_t k, const typename Lanes<Real>::Mask& is_foreground) const {
    return of(kProbability, k) + keep_where(is_foreground, of(kIntersection, k));
  }

  int64_t classes_;
  Real gamma_;
  Lanes<Real>* memory_;  // [6, C], if the number of classes is no constant
  Real* gradient_;       // [kDiceCEStatistics, C]
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
