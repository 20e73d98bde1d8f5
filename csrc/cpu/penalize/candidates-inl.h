// Candidates side by side, in blocks (kBlock): what the forward pass chooses from.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>

#include "../tiling/plane_layout-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// [n] keys and [n] taps of one class. Taps count over the axes that are reduced so far.
template <class Key, class Tap>
struct Candidates {
  Key* key = nullptr;
  Tap* tap = nullptr;

  Candidates from(int64_t i) const {
    return {key + i, tap + i};
  }
};

// Rows to choose from: of single pixels, where every tap is the same ...
// from(i, further) returns the row from index i on, displaced by `further` taps.
template <class Key, class Tap>
struct PixelSource {
  const Key* key;
  Tap row_tap;

  Tap tap(int64_t /*i*/) const {
    return row_tap;
  }
  PixelSource from(int64_t i, Tap further = 0) const {
    return {key + i, static_cast<Tap>(row_tap + further)};
  }
};

// ... or of candidates that were chosen before, displaced by `base` taps.
template <class Key, class Tap>
struct CandidateSource {
  const Key* key;
  const Tap* taps;
  Tap base;

  Tap tap(int64_t i) const {
    return static_cast<Tap>(taps[i] + base);
  }
  CandidateSource from(int64_t i, Tap further = 0) const {
    return {key + i, taps + i, static_cast<Tap>(base + further)};
  }
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
