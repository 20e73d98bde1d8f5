// What the operators are called with, on every device: pointers, strides and types.
#pragma once

#include "geometry.h"

namespace scnp {

// Eq. 1: every logit becomes its worst same-class neighbour; winners say which neighbour that was.
struct ForwardCall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> logits;  // [B, C, *spatial], `type`; strides in elements
  Target target;
  Gate gate;
  View<char> penalized;  // [B, C, *spatial], `type`
  View<char> winners;    // [B, C, *spatial], `winner_type`
};

// Eq. 2: every gradient goes to the winner of its pixel, added in raster order of the pixels.
struct ScatterCall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> gradient;   // [B, C, *spatial], `type`: with respect to the penalized logits
  View<const char> winners;    // [B, C, *spatial], `winner_type`
  View<char> logits_gradient;  // [B, C, *spatial], `type`
};

// The transpose of scatter: every pixel takes the value at its winner.
struct GatherCall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> values;   // [B, C, *spatial], `type`
  View<const char> winners;  // [B, C, *spatial], `winner_type`
  View<char> result;         // [B, C, *spatial], `type`
};

// The fused loss takes at most so many classes: the CPU's kernels read a pixel's class, or that it
// has none or is invalid, from one byte.
constexpr int64_t kMostClasses = 250;

// What both passes of Dice + cross entropy are called with. The loss is taken of the penalized
// logits, of the plain ones, or of both.
struct DiceCECall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> logits;  // [B, C, *spatial], `type`
  Target target;
  bool softmax = true;  // otherwise sigmoid: every class for itself
  bool of_penalized = true;
  bool of_plain = false;
  double gamma = 0;  // the focal loss's: cross entropy is multiplied by (1 - p)^gamma
};

// The statistics of an image that the loss is made of: sums over its valid pixels, for every class.
// p is the probability, y the mask.
enum DiceCEStatistic {
  kIntersection,  // p * y
  kProbability,   // p
  kForegroundPixels,
  kForegroundEntropy,  // cross entropy where y = 1, modulated by gamma
  kBackgroundEntropy,  // and, with sigmoid, where y = 0
  kValidPixels,
  kDiceCEStatistics  // their number
};

// The index of a statistic in [2, kDiceCEStatistics, B, C]. Term 0 stands for the penalized logits,
// term 1 for the plain ones.
inline int64_t index_of_statistic(const Geometry& geometry, int term, int statistic, int64_t b,
                                  int64_t c) {
  return ((term * kDiceCEStatistics + statistic) * geometry.batch + b) * geometry.channels + c;
}

struct DiceCEForwardCall : DiceCECall {
  Gate gate;
  View<char> winners;            // [B, C, *spatial], `winner_type`; only with of_penalized
  double* statistics = nullptr;  // [2, kDiceCEStatistics, B, C]
};

struct DiceCEBackwardCall : DiceCECall {
  const double* statistics_gradient = nullptr;  // [2, kDiceCEStatistics, B, C]
  View<const char> winners;    // [B, C, *spatial], `winner_type`; only with of_penalized
  View<char> logits_gradient;  // [B, C, *spatial], `type`
};

}  // namespace scnp
