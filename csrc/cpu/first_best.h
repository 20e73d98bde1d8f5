// The inner loops of the forward pass: of several rows of candidates, the first best at each place.
//
//     source 0     5  2  7
//     source 1     5  9  1      ->   5 (tap of 0)   9 (tap of 1)   7 (tap of 0)
//     source 2     4  9  7
//
// A later source wins on strict `>` only, so the first of equal candidates stays.
namespace scnp::cpu::SCNP_CAPABILITY {

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

// Of three sources, so that `best` stays in a register in between. `out` may be the first source.
// Naming a source twice changes nothing: a candidate does not beat itself.
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
  const int64_t last = count - 1;
  first_best(source(0), source(std::min<int64_t>(1, last)), source(std::min<int64_t>(2, last)), n,
             out);
  const CandidateSource<Key, Tap> so_far{out.key, out.tap, 0};
  for (int64_t next = 3; next < count; next += 2) {
    first_best(so_far, source(next), source(std::min(next + 1, last)), n, out);
  }
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
