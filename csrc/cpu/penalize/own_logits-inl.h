// Pixels that are not penalized because the gate is false there: once a plane is computed, they get
// their own logits back, and the centre tap as winner. Their neighbours have seen them by then,
// like any other pixel.
//
//     penalized plane    a' b' c' d' e'
//     gate               1  1  0  0  1       ->    a' b' c  d  e'
//     logits             a  b  c  d  e
//
// This happens in the first cache, and what is computed without a gate knows nothing of it. Only
// results that go around the cache as they are computed look at the gate before (PlaneResults).
#pragma once

#include "../targets/prologue.h"

#include <cstdint>

#include "../../contract/geometry.h"
#include "../tiling/plane_layout-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

struct OwnLogits {
  Gate gate;
  View<const char> logits;  // [B, C, *spatial]
  int64_t logit_size = 0;   // in bytes
  WinnerType winner_type = WinnerType::kUInt8;
  int64_t centre_tap = 0;
};

// Overwrites plane z of a tile, `penalized` and `winners`, where the gate is false. Both are flat:
// [interior rows] at the layout's pitch, in whole blocks. Defined in keep_own_logits-inl.h, and
// compiled once for all kernels.
void keep_own_logits(const OwnLogits& own, const PlaneLayout& layout, int64_t batch,
                     int64_t channel, int64_t z, void* penalized, void* winners);

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
