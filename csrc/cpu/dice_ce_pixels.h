// Probabilities of a block of pixels, all classes side by side: the sums that Dice and cross
// entropy are made of, and the gradient that these sums send back to the logits.
//
//     lanes (pixels)  0 1 2 ... 63
//     class 0         . . .      .      every loop runs over the 64 lanes of one class; what the
//     class 1         . . .      .      classes of a pixel share (maximum, total) is one more row
//
// A pixel's code says of each class whether it is foreground, background or invalid; invalid lanes
// (and those behind the last pixel) count for nothing, whatever their logits hold.
#pragma once

#include "first_best.h"
#include "pixel_codes.h"
#include "vector_math.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// The codes of a block for every class: a label map's are the same for all.
struct BlockCodes {
  const uint8_t* codes = nullptr;  // of class 0
  int64_t per_class = 0;           // from a class's codes to the next one's; 0: a label map

  const uint8_t* of(int64_t k) const {
    return codes + k * per_class;
  }
  // The code of class k's foreground.
  uint8_t foreground(int64_t k) const {
    return static_cast<uint8_t>(per_class == 0 ? k : 0);
  }
  BlockCodes from(int64_t i) const {
    return {codes + i, per_class};
  }
};

// Working memory for one block of pixels.
template <class Real>
struct ProbabilityBlock {
  Real* logit;        // [C, 64]; softmax() subtracts the pixel's maximum
  Real* exponential;  // [C, 64]: e^logit; of the sigmoid e^-|logit|
  Real* shared[3];    // [64] each

  ProbabilityBlock(Scratch& scratch, int64_t classes)
      : logit(scratch.array<Real>(classes * kBlock)),
        exponential(scratch.array<Real>(classes * kBlock)) {
    for (Real*& row : shared) {
      row = scratch.array<Real>(kBlock);
    }
  }

  // shared[0] becomes the total of a pixel's exponentials.
  void softmax(int64_t classes) {
    if (classes == 2) {
      return softmax_of_two();
    }
    Real* most = shared[1];
    Real* total = shared[0];
    std::copy_n(logit, kBlock, most);
    for (int64_t k = 1; k < classes; ++k) {
      const Real* z = logit + k * kBlock;
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        most[i] = most[i] < z[i] ? z[i] : most[i];
      }
    }
    std::fill_n(total, kBlock, Real{0});
    for (int64_t k = 0; k < classes; ++k) {
      Real* z = logit + k * kBlock;
      Real* e = exponential + k * kBlock;
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        z[i] -= most[i];
        e[i] = exp_of_nonpositive(z[i]);
        total[i] += e[i];
      }
    }
  }

 private:
  // The same numbers with one exponential instead of two: the larger logit's is 1. NaN stays NaN
  // in the total.
  void softmax_of_two() {
    Real* z0 = logit;
    Real* z1 = logit + kBlock;
    Real* e0 = exponential;
    Real* e1 = exponential + kBlock;
    SCNP_VECTORIZE
    for (int64_t i = 0; i < kBlock; ++i) {
      const Real difference = z0[i] - z1[i];
      const bool first_is_less = difference < 0;
      const Real e = exp_of_nonpositive(-std::abs(difference));
      z0[i] = keep_if(first_is_less, difference);
      z1[i] = keep_if(!first_is_less, -difference);
      e0[i] = keep_if(first_is_less, e) + keep_if(!first_is_less, Real{1});
      e1[i] = keep_if(!first_is_less, e) + keep_if(first_is_less, Real{1});
      shared[0][i] = 1 + e;
    }
  }
};

// From e^-|z| the probability, so that nothing overflows.
template <class Real>
inline Real sigmoid(Real z, Real exponential) {
  return (keep_if(z < 0, exponential) + keep_if(!(z < 0), Real{1})) / (1 + exponential);
}

// log(1 + e) for e in [0, 1], without losing a small e.
template <class Real>
inline Real log_of_one_plus(Real e) {
  const Real one_plus = 1 + e;
  return log_of_positive(one_plus) + (e - (one_plus - 1)) / one_plus;
}

// The sums of one term (the penalized logits, or the plain ones) over a chunk of pixels. A few
// blocks are added up lane by lane, then added to the lanes in double precision.
template <class Real>
class DiceCELanes {
 public:
  enum Row { kI, kP, kE, kN, kRows };  // intersection, probability, positive, negative

  DiceCELanes(Scratch& scratch, int64_t classes)
      : classes_(classes),
        lanes_(scratch.array<Real>(classes * kRows * kBlock)),
        totals_(scratch.array<double>(classes * kRows * kBlock)),
        foreground_(scratch.array<int64_t>(classes)),
        valid_(scratch.array<int64_t>(classes)) {
    clear();
  }

  void add_softmax(ProbabilityBlock<Real>& block, const BlockCodes& codes) {
    block.softmax(classes_);
    Real* log_total = block.shared[1];
    Real* reciprocal = block.shared[2];
    SCNP_VECTORIZE
    for (int64_t i = 0; i < kBlock; ++i) {
      log_total[i] = log_of_positive(block.shared[0][i]);
      reciprocal[i] = 1 / block.shared[0][i];
    }
    for (int64_t k = 0; k < classes_; ++k) {
      const Real* z = block.logit + k * kBlock;
      const Real* e = block.exponential + k * kBlock;
      const uint8_t* code = codes.of(k);
      const uint8_t foreground = codes.foreground(k);
      Real* lanes = lanes_ + k * kRows * kBlock;
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        const bool own = code[i] == foreground;
        const bool valid = code[i] != kInvalidPixel;
        const Real p = e[i] * reciprocal[i];
        lanes[kI * kBlock + i] += keep_if(own, p);
        lanes[kP * kBlock + i] += keep_if(valid, p);
        lanes[kE * kBlock + i] += keep_if(own, log_total[i] - z[i]);
      }
    }
    count(codes);
  }

  void add_sigmoid(ProbabilityBlock<Real>& block, const BlockCodes& codes) {
    for (int64_t k = 0; k < classes_; ++k) {
      const Real* z = block.logit + k * kBlock;
      const uint8_t* code = codes.of(k);
      const uint8_t foreground = codes.foreground(k);
      Real* lanes = lanes_ + k * kRows * kBlock;
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        const bool own = code[i] == foreground;
        const bool valid = code[i] != kInvalidPixel;
        const Real e = exp_of_nonpositive(-std::abs(z[i]));
        const Real p = sigmoid(z[i], e);
        const Real log_of_total = log_of_one_plus(e);
        lanes[kI * kBlock + i] += keep_if(own, p);
        lanes[kP * kBlock + i] += keep_if(valid, p);
        lanes[kE * kBlock + i] += keep_if(own, keep_if(z[i] < 0, -z[i]) + log_of_total);
        lanes[kN * kBlock + i] += keep_if(valid & !own, keep_if(!(z[i] < 0), z[i]) + log_of_total);
      }
    }
    count(codes);
  }

  // Adds the chunk's sums to those of an image: [kDiceCESums, C].
  void finish_chunk(double* sums) {
    flush();
    constexpr DiceCESum of_row[kRows] = {kIntersection, kProbability, kPositive, kNegative};
    for (int64_t k = 0; k < classes_; ++k) {
      for (int row = 0; row < kRows; ++row) {
        const double* lanes = totals_ + (k * kRows + row) * kBlock;
        double total = 0;
        for (int64_t i = 0; i < kBlock; ++i) {
          total += lanes[i];
        }
        sums[of_row[row] * classes_ + k] += total;
      }
      sums[kForegroundPixels * classes_ + k] += static_cast<double>(foreground_[k]);
      sums[kValidPixels * classes_ + k] += static_cast<double>(valid_[k]);
    }
    clear();
  }

 private:
  static constexpr int64_t kBlocksBetweenFlushes = 16;

  void count(const BlockCodes& codes) {
    for (int64_t k = 0; k < classes_; ++k) {
      const uint8_t* code = codes.of(k);
      const uint8_t foreground = codes.foreground(k);
      int32_t own = 0;
      int32_t invalid = 0;
      for (int64_t i = 0; i < kBlock; ++i) {
        own += code[i] == foreground;
        invalid += code[i] == kInvalidPixel;
      }
      foreground_[k] += own;
      valid_[k] += kBlock - invalid;
    }
    if (++blocks_ == kBlocksBetweenFlushes) {
      flush();
    }
  }
  void flush() {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < classes_ * kRows * kBlock; ++i) {
      totals_[i] += static_cast<double>(lanes_[i]);
      lanes_[i] = 0;
    }
    blocks_ = 0;
  }
  void clear() {
    std::fill_n(lanes_, classes_ * kRows * kBlock, Real{0});
    std::fill_n(totals_, classes_ * kRows * kBlock, 0.0);
    std::fill_n(foreground_, classes_, int64_t{0});
    std::fill_n(valid_, classes_, int64_t{0});
    blocks_ = 0;
  }

  int64_t classes_;
  Real* lanes_;          // [C, kRows, 64]
  double* totals_;       // [C, kRows, 64]
  int64_t* foreground_;  // [C], pixels
  int64_t* valid_;       // [C], pixels
  int64_t blocks_ = 0;   // since the last flush
};

// The sums' gradient for one image and term, and what it makes of a block's logits.
template <class Real>
class DiceCEGradient {
 public:
  DiceCEGradient(Scratch& scratch, int64_t classes)
      : classes_(classes), gradient_(scratch.array<Real>(kDiceCESums * classes)) {
  }

  // sums_gradient: [2, kDiceCESums, B, C].
  void start(const double* sums_gradient, const Geometry& geometry, int term, int64_t image) {
    for (int sum = 0; sum < kDiceCESums; ++sum) {
      for (int64_t k = 0; k < classes_; ++k) {
        gradient_[sum * classes_ + k] =
            static_cast<Real>(sums_gradient[place_of_sum(geometry, term, sum, image, k)]);
      }
    }
  }

  // result: [64] of class k at result + k * stride.
  void softmax(ProbabilityBlock<Real>& block, const BlockCodes& codes, Real* result,
               int64_t stride) const {
    block.softmax(classes_);
    Real* shared = block.shared[1];      // sum of y * dE - sum of p * a
    Real* reciprocal = block.shared[2];  // of the total
    Real* weighted = block.logit;        // [64], sum of e * a (the logits are not needed any more)
    std::fill_n(shared, kBlock, Real{0});
    std::fill_n(weighted, kBlock, Real{0});
    for (int64_t k = 0; k < classes_; ++k) {
      const Real* e = block.exponential + k * kBlock;
      const uint8_t* code = codes.of(k);
      const uint8_t foreground = codes.foreground(k);
      const Real of_intersection = of(kIntersection, k);
      const Real of_probability = of(kProbability, k);
      const Real of_positive = of(kPositive, k);
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        const bool own = code[i] == foreground;
        weighted[i] += e[i] * (of_probability + keep_if(own, of_intersection));
        shared[i] += keep_if(own, of_positive);
      }
    }
    SCNP_VECTORIZE
    for (int64_t i = 0; i < kBlock; ++i) {
      reciprocal[i] = 1 / block.shared[0][i];
      shared[i] -= weighted[i] * reciprocal[i];
    }
    for (int64_t k = 0; k < classes_; ++k) {
      const Real* e = block.exponential + k * kBlock;
      const uint8_t* code = codes.of(k);
      const uint8_t foreground = codes.foreground(k);
      const Real of_intersection = of(kIntersection, k);
      const Real of_probability = of(kProbability, k);
      const Real of_positive = of(kPositive, k);
      Real* out = result + k * stride;
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        const bool own = code[i] == foreground;
        const bool valid = code[i] != kInvalidPixel;
        const Real a = of_probability + keep_if(own, of_intersection);
        const Real gradient = e[i] * reciprocal[i] * (a + shared[i]) - keep_if(own, of_positive);
        out[i] = keep_if(valid, gradient);
      }
    }
  }

  void sigmoid(ProbabilityBlock<Real>& block, const BlockCodes& codes, Real* result,
               int64_t stride) const {
    for (int64_t k = 0; k < classes_; ++k) {
      const Real* z = block.logit + k * kBlock;
      const uint8_t* code = codes.of(k);
      const uint8_t foreground = codes.foreground(k);
      const Real of_intersection = of(kIntersection, k);
      const Real of_probability = of(kProbability, k);
      const Real of_positive = of(kPositive, k);
      const Real of_negative = of(kNegative, k);
      Real* e = block.exponential;  // [64]
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        e[i] = exp_of_nonpositive(-std::abs(z[i]));
      }
      Real* out = result + k * stride;
      SCNP_VECTORIZE
      for (int64_t i = 0; i < kBlock; ++i) {
        const bool own = code[i] == foreground;
        const bool valid = code[i] != kInvalidPixel;
        const Real p = SCNP_CAPABILITY::sigmoid(z[i], e[i]);
        const Real q = SCNP_CAPABILITY::sigmoid(-z[i], e[i]);  // 1 - p, exactly where p is near 1
        const Real a = of_probability + keep_if(own, of_intersection);
        const Real gradient =
            p * q * a - q * keep_if(own, of_positive) + p * keep_if(!own, of_negative);
        out[i] = keep_if(valid, gradient);
      }
    }
  }

 private:
  Real of(DiceCESum sum, int64_t k) const {
    return gradient_[sum * classes_ + k];
  }

  int64_t classes_;
  Real* gradient_;  // [kDiceCESums, C]
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
