// What the three operators are called with, on every device: pointers, strides and types.
#pragma once

#include "contract.h"

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

}  // namespace scnp
