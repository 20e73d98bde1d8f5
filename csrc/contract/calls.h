// What the three operators are called with, on every device: pointers, strides and types.
#pragma once

#include "geometry.h"

namespace scnp {

// Eq. 1: every logit becomes its worst same-class neighbour; winners say which one that was.
struct ForwardCall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> logits;  // [B, C, *spatial], `type`; strides in elements
  Target target;
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

// Dice + cross entropy, of the penalized logits, the plain ones, or both: what both passes are
// told.
struct DiceCECall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> logits;  // [B, C, *spatial], `type`
  Target target;
  bool softmax = true;  // otherwise sigmoid: every class for itself
  bool of_penalized = true;
  bool of_plain = false;
};

// The sums over an image's valid pixels, for every class: p is the probability, y the mask.
enum DiceCESum {
  kIntersection,  // p * y
  kProbability,   // p
  kForegroundPixels,
  kPositive,  // cross entropy where y = 1
  kNegative,  // and, with sigmoid, where y = 0
  kValidPixels,
  kDiceCESums
};

// Their place in [2, kDiceCESums, B, C]; term 0 is of the penalized logits, 1 of the plain ones.
inline int64_t place_of_sum(const Geometry& geometry, int term, int sum, int64_t b, int64_t c) {
  return ((term * kDiceCESums + sum) * geometry.batch + b) * geometry.channels + c;
}

struct DiceCEForwardCall : DiceCECall {
  View<char> winners;      // [B, C, *spatial], `winner_type`; only with of_penalized
  double* sums = nullptr;  // [2, kDiceCESums, B, C]
};

struct DiceCEBackwardCall : DiceCECall {
  const double* sums_gradient = nullptr;  // [2, kDiceCESums, B, C]
  View<const char> winners;               // [B, C, *spatial], `winner_type`; with of_penalized
  View<char> logits_gradient;             // [B, C, *spatial], `type`
};

}  // namespace scnp
