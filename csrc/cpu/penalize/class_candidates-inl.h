// Working memory for candidates of both classes: planes of a tile, see plane_layout-inl.h.
#pragma once

#include "../targets/prologue.h"

#include <array>
#include <cstdint>

#include "../memory/scratch.h"
#include "../tiling/plane_layout-inl.h"
#include "first_best-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

constexpr int kBackground = 0;
constexpr int kForeground = 1;
constexpr int kClasses = 2;

template <class Key, class Tap>
using BothClasses = std::array<Candidates<Key, Tap>, kClasses>;

// So many pixels of what the passes hand each other fit into the first cache.
template <class Key>
constexpr int64_t kPixelsInFirstCache = 64 * kBlock / sizeof(Key);

// `planes` planes of `length` candidates of both classes.
template <class Key, class Tap>
class CandidatePlanes {
 public:
  CandidatePlanes(Scratch& scratch, int64_t planes, int64_t length)
      : planes_(planes),
        length_(length),
        keys_(scratch.array<Key>(kClasses * planes * length)),
        taps_(scratch.array<Tap>(kClasses * planes * length)) {
  }

  BothClasses<Key, Tap> plane(int64_t index) const {
    BothClasses<Key, Tap> both;
    for (int c = 0; c < kClasses; ++c) {
      const int64_t at = (c * planes_ + index) * length_;
      both[c] = {keys_ + at, taps_ + at};
    }
    return both;
  }

 private:
  int64_t planes_;
  int64_t length_;
  Key* keys_;
  Tap* taps_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
