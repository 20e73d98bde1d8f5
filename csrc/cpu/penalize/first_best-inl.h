// The inner loops of the forward pass for any window: the first best of several rows of
// candidates, pixel by pixel. They run over whole blocks: the rows of working memory are padded, so
// that compilers see a constant count and emit vector instructions alone, without a remainder.
//
//     source 0     5  2  7
//     source 1     5  9  1      ->   5 (tap of 0)   9 (tap of 1)   7 (tap of 0)
//     source 2     4  9  7
//
// A later source wins on strict `>` only, so the first of equal candidates stays.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>

#include "../tiling/tiles.h"
#include "../vector/blend-inl.h"
#include "candidates-inl.h"
#if SCNP_REGISTERS
#include "blocks-inl.h"
#endif

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class Key, class Tap, class Source>
inline void replace_if_better(const Source& source, int64_t i, Key& best, Tap& tap) {
  const Key key = source.key[i];
  const bool better = key > best;
  best = better ? key : best;
  tap = blend(tap, source.tap(i), lane_mask<Tap>(better));
}

// `out` may be any of the sources, or lie behind all of them: what is read is never behind what is
// written.
template <class Key, class Tap, class First, class... Rest>
inline void first_best_of_block(Candidates<Key, Tap> out, First first, Rest... rest) {
#if SCNP_REGISTERS
  if constexpr (sizeof(Tap) == 1) {
    for (int64_t i = 0; i < kBlock; i += kPixels) {
      BestOfBlock<Key> best(first.from(i));
      (best.replace_if_better(rest.from(i)), ...);
      best.store(out.key + i, out.tap + i);
    }
    return;
  }
#endif
  SCNP_VECTORIZE
  for (int64_t i = 0; i < kBlock; ++i) {
    Key best = first.key[i];
    Tap tap = first.tap(i);
    (replace_if_better(rest, i, best, tap), ...);
    out.key[i] = best;
    out.tap[i] = tap;
  }
}

// Finds the first best of two or three sources, in ascending order of their taps, at `n` indices.
template <class Key, class Tap, class First, class... Rest>
void first_best(int64_t n, Candidates<Key, Tap> out, const First& first, const Rest&... rest) {
  for (int64_t block = 0; block < n; block += kBlock) {
    first_best_of_block(out.from(block), first.from(block), rest.from(block)...);
  }
}

// Finds the first best of `count` rows that lie `distance` apart in one array, the k-th of which
// counts `step * k` taps more than the first: by tripling, in about log3(count) passes.
//
//     span 1        a    b    c    d    e    f    g
//     span 3        abc  bcd  cde  def  efg              best of itself, 1 and 2 further
//     window 7      abc + def + efg                      spans may overlap: e and f twice
//                                                        change nothing
//
// `rows` serves as working memory (`n` candidates for the first row, and the others behind it).
template <class Source, class Key, class Tap>
void first_best_of_rows(const Source& source, Candidates<Key, Tap> rows, int64_t count,
                        int64_t distance, Tap step, int64_t n, Candidates<Key, Tap> out) {
  using Span = CandidateSource<Key, Tap>;
  const auto row = [&](int64_t k) { return source.from(k * distance, static_cast<Tap>(k * step)); };
  if (count <= 3) {
    return first_best(n, out, row(0), row(std::min<int64_t>(1, count - 1)), row(count - 1));
  }
  const auto span = [&](int64_t k) {
    return Span{rows.key, rows.tap, 0}.from(k * distance, static_cast<Tap>(k * step));
  };
  // The size that the spans still to be made will read.
  const auto size_for = [&](int64_t length) {
    return whole_blocks(n + (count - length) * distance);
  };
  first_best(size_for(3), rows, row(0), row(1), row(2));
  int64_t length = 3;
  for (; 3 * length < count; length *= 3) {
    first_best(size_for(3 * length), rows, span(0), span(length), span(2 * length));
  }
  if (2 * length < count) {
    return first_best(n, out, span(0), span(length), span(count - length));
  }
  first_best(n, out, span(0), span(count - length));
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
