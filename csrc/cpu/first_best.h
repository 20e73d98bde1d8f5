// The inner loops of the forward pass: of several rows of candidates, the first best at each place.
//
//     source 0     5  2  7
//     source 1     5  9  1      ->   5 (tap of 0)   9 (tap of 1)   7 (tap of 0)
//     source 2     4  9  7
//
// A later source wins on strict `>` only, so the first of equal candidates stays.
#pragma once

#include <cstdint>

#include "vectorize.h"

namespace scnp::cpu {

// [n] keys and [n] taps of one class; the taps count over the axes reduced so far.
template <class Key, class Tap>
struct Candidates {
  Key* key = nullptr;
  Tap* tap = nullptr;
};

// Rows to choose from: of single pixels, where every tap is the same ...
template <class Key, class Tap>
struct PixelSource {
  const Key* key;
  Tap row_tap;
  Tap tap(int64_t /*i*/) const {
    return row_tap;
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
};

// `b` where the mask is all ones, `a` where it is zero. Written with bits, because compilers turn
// the conditional expression into a branch around a store, which does not vectorise.
template <class Lane>
inline Lane blend(Lane a, Lane b, Lane mask) {
  return static_cast<Lane>(a ^ ((a ^ b) & mask));
}

template <class Key, class Tap, class Source>
inline void replace_if_better(const Source& source, int64_t i, Key& best, Tap& tap) {
  const Key key = source.key[i];
  const bool better = key > best;
  best = better ? key : best;
  tap = blend(tap, source.tap(i), static_cast<Tap>(-static_cast<Tap>(better)));
}

// One, two or three sources at a time: `best` stays in a register in between. `out` may be the
// first source.
template <class First, class Key, class Tap>
void first_best(const First& a, int64_t n, Candidates<Key, Tap> out) {
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    out.key[i] = a.key[i];
    out.tap[i] = a.tap(i);
  }
}

template <class First, class Source, class Key, class Tap>
void first_best(const First& a, const Source& b, int64_t n, Candidates<Key, Tap> out) {
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    Key best = a.key[i];
    Tap tap = a.tap(i);
    replace_if_better(b, i, best, tap);
    out.key[i] = best;
    out.tap[i] = tap;
  }
}

template <class First, class Source, class Key, class Tap>
void first_best(const First& a, const Source& b, const Source& c, int64_t n,
                Candidates<Key, Tap> out) {
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    Key best = a.key[i];
    Tap tap = a.tap(i);
    replace_if_better(b, i, best, tap);
    replace_if_better(c, i, best, tap);
    out.key[i] = best;
    out.tap[i] = tap;
  }
}

// Of source(0), source(1), ... source(count - 1), in this order.
template <class SourceAt, class Key, class Tap>
void first_best_of(int64_t count, const SourceAt& source, int64_t n, Candidates<Key, Tap> out) {
  if (count == 1) {
    return first_best(source(0), n, out);
  }
  if (count == 2) {
    return first_best(source(0), source(1), n, out);
  }
  first_best(source(0), source(1), source(2), n, out);
  const CandidateSource<Key, Tap> so_far{out.key, out.tap, 0};
  int64_t next = 3;
  for (; next + 2 <= count; next += 2) {
    first_best(so_far, source(next), source(next + 1), n, out);
  }
  if (next < count) {
    first_best(so_far, source(next), n, out);
  }
}

}  // namespace scnp::cpu
