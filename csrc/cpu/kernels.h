// The CPU kernels' entrances. Free of torch headers: the binding hands in pointers, strides and a
// way to run work in parallel.
#pragma once

#include <cstdint>
#include <functional>

#include "../contract.h"

namespace scnp::cpu {

// Runs body(begin, end) over [0, items) on up to `count` threads.
struct Workers {
  int64_t count = 1;
  std::function<void(int64_t items, const std::function<void(int64_t, int64_t)>& body)> run;
};

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
Fault forward(const ForwardCall& call, const Workers& workers);

// Eq. 2: every gradient goes to the winner of its pixel, added in raster order of the pixels.
struct ScatterCall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> gradient;   // [B, C, *spatial], `type`: with respect to the penalized logits
  View<const char> winners;    // [B, C, *spatial], `winner_type`
  View<char> logits_gradient;  // [B, C, *spatial], `type`
};
void scatter(const ScatterCall& call, const Workers& workers);

// The transpose of scatter: every pixel takes the value at its winner.
struct GatherCall {
  Geometry geometry;
  FloatType type = FloatType::kFloat32;
  WinnerType winner_type = WinnerType::kUInt8;
  View<const char> values;   // [B, C, *spatial], `type`
  View<const char> winners;  // [B, C, *spatial], `winner_type`
  View<char> result;         // [B, C, *spatial], `type`
};
void gather(const GatherCall& call, const Workers& workers);

}  // namespace scnp::cpu
