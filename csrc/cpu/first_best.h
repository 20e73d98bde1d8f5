// The inner loops of the forward pass: of several rows of candidates, the first
// best at each place.
//
//     source 0     5  2  7
//     source 1     5  9  1      ->   5 (tap of 0)   9 (tap of 1)   7 (tap of 0)
//     source 2     4  9  7
//
// A later source wins on strict `>` only, so the first of equal candidates
// stays.
//
// All loops run over whole blocks: the rows of working memory are padded, so
// that compilers see a constant count and emit vector instructions alone,
// without a remainder.
#pragma once

namespace scnp::cpu::SCNP_CAPABILITY {

// Pixels per block: what one vector of the narrowest taps holds.
constexpr int64_t kBlock = 64;

inline int64_t whole_blocks(int64_t pixels) {
  return (pixels + kBlock - 1) / kBlock * kBlock;
}

// [n] keys and [n] taps of one class; the taps count over the axes reduced so
// far.
template <class Key, class Tap>
struct Candidates {
  Key* key = nullptr;
  Tap* tap = nullptr;

  Candidates from(int64_t i) const {
    return {key + i, tap + i};
  }
};

// Rows to choose from: of single pixels, where every tap is the same ...
// from(i, further): the row from place i on, displaced by `further` taps.
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

// `b` where the mask is all ones, `a` where it is zero. Written with bits,
// because compilers turn the conditional expression into a branch around a
// store, which does not vectorise.
template <class Lane>
inline Lane blend(Lane a, Lane b, Lane mask) {
  return static_cast<Lane>(a ^ ((a ^ b) & mask));
}

// All ones or zero, as wide as the lanes it selects.
template <class Lane>
inline Lane lane_mask(bool condition) {
  return static_cast<Lane>(-static_cast<Lane>(condition));
}

template <class Key, class Tap, class Source>
inline void replace_if_better(const Source& source, int64_t i, Key& best, Tap& tap) {
  const Key key = source.key[i];
  const bool better = key > best;
  best = better ? key : best;
  tap = blend(tap, source.tap(i), lane_mask<Tap>(better));
}

// Of two sources. `out` may be either, or lie behind both: what is read is
// never behind what is written.
template <class First, class Source, class Key, class Tap>
void first_best(const First& a, const Source& b, int64_t n, Candidates<Key, Tap> out) {
  for (int64_t block = 0; block < n; block += kBlock) {
    const auto first = a.from(block);
    const auto second = b.from(block);
    const auto result = out.from(block);
    SCNP_VECTORIZE
    for (int64_t i = 0; i < kBlock; ++i) {
      Key best = first.key[i];
      Tap tap = first.tap(i);
      replace_if_better(second, i, best, tap);
      result.key[i] = best;
      result.tap[i] = tap;
    }
  }
}

// Of three, so that `best` stays in a register in between.
template <class First, class Source, class Key, class Tap>
void first_best(const First& a, const Source& b, const Source& c, int64_t n,
                Candidates<Key, Tap> out) {
  for (int64_t block = 0; block < n; block += kBlock) {
    const auto first = a.from(block);
    const auto second = b.from(block);
    const auto third = c.from(block);
    const auto result = out.from(block);
    SCNP_VECTORIZE
    for (int64_t i = 0; i < kBlock; ++i) {
      Key best = first.key[i];
      Tap tap = first.tap(i);
      replace_if_better(second, i, best, tap);
      replace_if_better(third, i, best, tap);
      result.key[i] = best;
      result.tap[i] = tap;
    }
  }
}

// The first best of `count` rows that lie `distance` apart in one array, the
// k-th of which counts `step * k` taps more than the first: by doubling, in
// about log2(count) passes.
//
//     span 1      a  b  c  d  e  f  g
//     span 2      ab bc cd de ef fg           best of itself and the one 1
//     further span 4      abcd bcde cdef defg         ... 2 further of 7
//     abcd+defg                   two spans that overlap: d twice changes
//     nothing
//
// `rows` serves as working memory (with `n` places for the first row, and the
// others behind it).
template <class Source, class Key, class Tap>
void first_best_of_rows(const Source& source, Candidates<Key, Tap> rows, int64_t count,
                        int64_t distance, Tap step, int64_t n, Candidates<Key, Tap> out) {
  using Span = CandidateSource<Key, Tap>;
  const auto row = [&](int64_t k) { return source.from(k * distance, static_cast<Tap>(k * step)); };
  if (count <= 3) {
    return first_best(row(0), row(std::min<int64_t>(1, count - 1)), row(count - 1), n, out);
  }
  const auto span = [&](int64_t k) {
    return Span{rows.key, rows.tap, 0}.from(k * distance, static_cast<Tap>(k * step));
  };
  // The places that the spans still to be made will read.
  const auto places = [&](int64_t length) { return whole_blocks(n + (count - length) * distance); };
  first_best(row(0), row(1), places(2), rows);
  int64_t length = 2;
  for (; 2 * length < count; length *= 2) {
    first_best(span(0), span(length), places(2 * length), rows);
  }
  first_best(span(0), span(count - length), n, out);
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
