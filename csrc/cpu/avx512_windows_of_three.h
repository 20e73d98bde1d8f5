// Eq. 1 for windows of three, the commonest, in AVX-512: what the passes of any_windows.h hand
// each other stays in registers, but for two reduced planes (and a strip of rows in 3D).
//
//     logits, codes of plane z+1           ring of two reduced planes           penalized, winners
//
//     64 places: keys of both classes         z-1  ----,
//       -> best of x-1, x, x+1                z    ----+-- best of the own
//       -> in 3D, of y-1, y, y+1              z+1  ----'   class, 64 places -->      plane z
//                                             |
//                                             '-> stored where z-1 was: nobody reads that again
#pragma once

#include "class_candidates.h"
#include "ordered_keys.h"
#include "strided.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// Along a row, the best of every place and the two behind it, of both classes.
//
//     keys     a b c d | e            64 places, and the register behind them, which is kept
//              b c d e'               for the next 64: e' is its first lane
//              c d e' e"
template <class Format>
class ThreeColumns {
  using Key = typename Format::Bits;
  using Register = KeyRegister<Key>;
  static constexpr int kRegisters = kRegistersPerBlock<Key>;
  static constexpr int kLanes = kKeysPerRegister<Key>;

 public:
  // logits: [length] of the places from `lead` on, 0 or 1; in front of them and behind them there
  // is no candidate. codes: from place 0 on.
  SCNP_ALWAYS_INLINE ThreeColumns(const Key* logits, int64_t lead, int64_t length,
                                  const uint8_t* codes, uint8_t own_code, uint8_t first_tap)
      : logits_(logits - lead),
        end_(lead + length),
        codes_(codes),
        own_code_(own_code),
        first_tap_(first_tap) {
    const __mmask64 inside = first_places(end_) & (~uint64_t{0} << lead);
    const __mmask64 own = places_with(codes, own_code) & inside;
    const __mmask64 nobodys = places_with(codes, kInvalidPixel) | ~inside;
    const auto keys = keys_of_register<Format, true>(
        Register::load_where(mask_of_register<Key>(inside, 0), logits_, _mm512_setzero_si512()),
        mask_of_register<Key>(own, 0), mask_of_register<Key>(own | nobodys, 0));
    first_[kBackground] = keys.background;
    first_[kForeground] = keys.foreground;
  }

  // Of the 64 places from `place` on; blocks in ascending order, from 0 on.
  SCNP_ALWAYS_INLINE void next_block(int64_t place, BestOfBlock<Key>& background,
                                     BestOfBlock<Key>& foreground) {
    const int64_t from = place + kLanes;
    __m512i bits[kRegisters];
    typename Register::Mask rare[kRegisters];
    load(from, bits);
    for (int r = 0; r < kRegisters; ++r) {
      rare[r] = Register::template rare<Format>(bits[r]);
    }
    const __mmask64 own = places_with(codes_ + from, own_code_);
    const __mmask64 own_or_invalid = own | places_with(codes_ + from, kInvalidPixel);
    __m512i keys[kClasses][kRegisters + 1] = {{first_[kBackground]}, {first_[kForeground]}};
    if (Register::joined(rare) == 0) {
      make_keys<false>(bits, own, own_or_invalid, keys);
    } else {
      make_keys<true>(bits, own, own_or_invalid, keys);
    }
    background = best_of_three(keys[kBackground]);
    foreground = best_of_three(keys[kForeground]);
    first_[kBackground] = keys[kBackground][kRegisters];
    first_[kForeground] = keys[kForeground][kRegisters];
  }

 private:
  // The logits of 64 places; 0 behind the row's end, where codes say that nobody is a candidate,
  // or where the next row begins: what is found there is overwritten when that row is read.
  SCNP_ALWAYS_INLINE void load(int64_t from, __m512i* bits) const {
    if (from + kBlock <= end_) {
      for (int r = 0; r < kRegisters; ++r) {
        bits[r] = _mm512_loadu_si512(logits_ + from + r * kLanes);
      }
    } else {
      const __mmask64 inside = first_places(end_ - from);
      for (int r = 0; r < kRegisters; ++r) {
        bits[r] = Register::load_where(mask_of_register<Key>(inside, r),
                                       logits_ + from + r * kLanes, _mm512_setzero_si512());
      }
    }
  }
  template <bool kRare>
  static SCNP_ALWAYS_INLINE void make_keys(const __m512i* bits, __mmask64 own,
                                           __mmask64 own_or_invalid,
                                           __m512i (&keys)[kClasses][kRegisters + 1]) {
    for (int r = 0; r < kRegisters; ++r) {
      const auto both = keys_of_register<Format, kRare>(bits[r], mask_of_register<Key>(own, r),
                                                        mask_of_register<Key>(own_or_invalid, r));
      keys[kBackground][r + 1] = both.background;
      keys[kForeground][r + 1] = both.foreground;
    }
  }
  SCNP_ALWAYS_INLINE BestOfBlock<Key> best_of_three(const __m512i* keys) const {
    BestOfBlock<Key> best(keys, first_tap_);
    __m512i shifted[kRegisters];
    for (int r = 0; r < kRegisters; ++r) {
      shifted[r] = Register::template shifted<1>(keys[r], keys[r + 1]);
    }
    best.replace_if_better(shifted, first_tap_ + 1);
    for (int r = 0; r < kRegisters; ++r) {
      shifted[r] = Register::template shifted<2>(keys[r], keys[r + 1]);
    }
    best.replace_if_better(shifted, first_tap_ + 2);
    return best;
  }
  static __mmask64 first_places(int64_t count) {
    return _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(std::clamp<int64_t>(count, 0, kBlock)));
  }

  const Key* logits_;
  int64_t end_;
  const uint8_t* codes_;
  uint8_t own_code_;
  uint8_t first_tap_;
  __m512i first_[kClasses];  // keys of the first register of the next block
};

template <class Format>
class WindowsOfThree {
  using Key = typename Format::Bits;
  using Best = BestOfBlock<Key>;
  using Source = CandidateSource<Key, uint8_t>;

 public:
  // Whether its windows are what this serves: three pixels along rows and planes, one row or three.
  static bool serves(const Geometry& geometry, const PlaneLayout& layout) {
    return geometry.reach(kOuter) == 1 && layout.reach[1] == 1 &&
           (layout.reach[0] == 1 || (layout.reach[0] == 0 && layout.own_rows.length() == 1));
  }

  WindowsOfThree(Scratch& scratch, const Geometry& geometry, const Tile& tile,
                 const PlaneLayout& layout)
      : geometry_(geometry),
        layout_(layout),
        first_plane_(tile.span[kOuter].grown(1, geometry.size[kOuter]).begin),
        row_(scratch.array<Key>(layout.columns.length())),
        rows_(scratch, 1, has_rows() ? layout.allocated() : 0),
        planes_(scratch, 2, layout.own_places()) {
    if (has_rows()) {
      forget_rows(rows_.plane(0), 0, layout.allocated());
    }
  }

  // See PenalizedPlanes.
  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t own_code) {
    logits_ = logits;
    strides_ = std::to_array(strides);
    own_code_ = own_code;
    next_ = first_plane_;
  }

  template <class Codes>
  void plane(int64_t z, const Codes& codes, Key* penalized, uint8_t* winners, bool streamed) {
    for (; next_ <= z; ++next_) {
      reduce(codes, Keep{planes_.plane(next_ % 2)});
    }
    const uint8_t* own_codes = codes(z) + layout_.centre();
    const int64_t above = std::max(z - 1, first_plane_);
    Choose choose{{at(above, z, kBackground), at(z, z, kBackground)},
                  {at(above, z, kForeground), at(z, z, kForeground)},
                  own_codes,
                  own_code_,
                  static_cast<uint8_t>(geometry_.centre_tap()),
                  streamed,
                  penalized,
                  winners};
    if (next_ == geometry_.size[kOuter]) {
      for (int64_t block = 0; block < layout_.own_places(); block += kBlock) {
        choose(block);
      }
      return;
    }
    reduce(codes, KeepAndChoose{planes_.plane(next_ % 2), displacement(z + 1, z), choose});
    ++next_;
  }

 private:
  using Both = BothClasses<Key, uint8_t>;

  // What is done with 64 places of the newest plane.
  struct Keep {
    Both plane;

    SCNP_ALWAYS_INLINE void operator()(int64_t block, const Best& background,
                                       const Best& foreground) const {
      const auto store = [&](const Best& best, const Candidates<Key, uint8_t>& out) {
        best.store(out.key + block, out.tap + block);
      };
      store(background, plane[kBackground]);
      store(foreground, plane[kForeground]);
    }
  };
  // The last pass, over the two planes before it and, where there is one, the newest.
  struct Choose {
    Source background[2];
    Source foreground[2];
    const uint8_t* own_codes;
    uint8_t own_code;
    uint8_t centre_tap;
    bool streamed;
    Key* penalized;
    uint8_t* winners;

    SCNP_ALWAYS_INLINE __mmask64 own(int64_t block) const {
      return places_with(own_codes + block, own_code);
    }
    SCNP_ALWAYS_INLINE Best of_planes(int64_t block, __mmask64 own) const {
      Best best(background[0].from(block), foreground[0].from(block), own);
      best.replace_if_better(background[1].from(block), foreground[1].from(block), own);
      return best;
    }
    SCNP_ALWAYS_INLINE void write(int64_t block, __mmask64 own, const Best& best) const {
      best.store_logits(own, places_with(own_codes + block, kInvalidPixel), centre_tap,
                        penalized + block, winners + block, streamed);
    }
    SCNP_ALWAYS_INLINE void operator()(int64_t block) const {
      const __mmask64 own_places = own(block);
      write(block, own_places, of_planes(block, own_places));
    }
  };
  struct KeepAndChoose {
    Both plane;
    uint8_t displacement;
    Choose choose;

    SCNP_ALWAYS_INLINE void operator()(int64_t block, const Best& background,
                                       const Best& foreground) const {
      const __mmask64 own = choose.own(block);
      Best best = choose.of_planes(block, own);
      best.replace_if_better(background, foreground, displacement, own);
      Keep{plane}(block, background, foreground);
      choose.write(block, own, best);
    }
  };

  // Reduces plane next_, block by block, and hands the blocks over.
  template <class Codes, class Consumer>
  void reduce(const Codes& codes, const Consumer consumer) {
    const Key* logits = logits_ + next_ * strides_[kOuter];
    const uint8_t* plane_codes = codes(next_);
    // What the plane after it begins with. Little by little: many requests at once would wait.
    const int64_t stride = strides_[kInner];
    const Key* ahead =
        logits_ + std::min(next_ + 1, geometry_.size[kOuter] - 1) * strides_[kOuter] +
        layout_.own_rows.begin * strides_[kMiddle] + layout_.own_columns.begin * stride;
    const int64_t places = layout_.own_places();
    if (!has_rows()) {
      auto columns = columns_of(logits, plane_codes, layout_.own_rows.begin);
      for (int64_t block = 0; block < places; block += kBlock) {
        fetch_ahead(ahead + block * stride, kBlock, stride);
        Best background, foreground;
        columns.next_block(block, background, foreground);
        consumer(block, background, foreground);
      }
      return;
    }
    // What is reduced of the rows stays in the first cache.
    constexpr int64_t strip = 64 * kBlock / sizeof(Key);
    int64_t next_row = layout_.rows.begin;
    for (int64_t begin = 0; begin < places; begin += strip) {
      const int64_t end = std::min(begin + strip, places);
      next_row = reduce_rows(logits, plane_codes, next_row, end + 2 * layout_.pitch);
      const Both rows = rows_.plane(0);
      const int64_t pitch = layout_.pitch;
      const auto window = static_cast<uint8_t>(geometry_.window[kInner]);
      const auto best_of_rows = [=](int c, int64_t block) {
        const Source row{rows[c].key + block, rows[c].tap + block, 0};
        Best best(row);
        best.replace_if_better(row.from(pitch, window));
        best.replace_if_better(row.from(2 * pitch, 2 * window));
        return best;
      };
      for (int64_t block = begin; block < end; block += kBlock) {
        fetch_ahead(ahead + block * stride, kBlock, stride);
        consumer(block, best_of_rows(kBackground, block), best_of_rows(kForeground, block));
      }
    }
  }

  // Reduces the rows from next_row on that begin before `places`; returns the next one.
  int64_t reduce_rows(const Key* logits, const uint8_t* codes, int64_t next_row, int64_t places) {
    const Both rows = rows_.plane(0);
    for (; next_row < layout_.rows.end; ++next_row) {
      const int64_t start = start_of_row(next_row);
      if (start >= places) {
        return next_row;
      }
      auto columns = columns_of(logits, codes, next_row);
      const Keep keep{{rows[kBackground].from(start), rows[kForeground].from(start)}};
      // In ascending order: behind its last pixel, a block may overwrite what the next row writes
      // anew ...
      for (int64_t block = 0; block < layout_.own_columns.length(); block += kBlock) {
        Best background, foreground;
        columns.next_block(block, background, foreground);
        keep(block, background, foreground);
      }
    }
    // ... or what no row does, outside of the image.
    if (next_row < layout_.own_rows.end + layout_.reach[0]) {
      forget_rows(rows, start_of_row(next_row), kBlock);
    }
    return next_row;
  }

  ThreeColumns<Format> columns_of(const Key* plane, const uint8_t* codes, int64_t y) {
    const int64_t stride = strides_[kInner];
    const int64_t length = layout_.columns.length();
    const Key* logits = plane + y * strides_[kMiddle] + layout_.columns.begin * stride;
    if (stride != 1) {
      gather_row(logits, stride, length, row_);
      logits = row_;
    }
    const int64_t first_tap =
        (geometry_.window[kMiddle] / 2 - layout_.reach[0]) * geometry_.window[kInner] +
        geometry_.window[kInner] / 2 - 1;
    const int64_t lead = layout_.columns.begin + 1 - layout_.own_columns.begin;
    return {
        logits, lead, length, codes + start_of_row(y), own_code_, static_cast<uint8_t>(first_tap)};
  }

  bool has_rows() const {
    return layout_.reach[0] > 0;
  }
  // The place from which on a row's best candidates stand.
  int64_t start_of_row(int64_t y) const {
    return layout_.place(y, layout_.own_columns.begin) - layout_.reach[1];
  }
  static void forget_rows(const Both& rows, int64_t from, int64_t count) {
    for (const auto& row : rows) {
      std::fill_n(row.key + from, count, kNoCandidate<Key>);
    }
  }
  // The taps of plane `of`, seen from plane z.
  uint8_t displacement(int64_t of, int64_t z) const {
    return static_cast<uint8_t>((of - z + geometry_.window[kOuter] / 2) *
                                geometry_.window[kMiddle] * geometry_.window[kInner]);
  }
  Source at(int64_t of, int64_t z, int c) const {
    const auto plane = planes_.plane(of % 2)[c];
    return {plane.key, plane.tap, displacement(of, z)};
  }

  const Geometry& geometry_;
  const PlaneLayout& layout_;
  const int64_t first_plane_;
  Key* row_;                              // [columns], where logits are not contiguous
  CandidatePlanes<Key, uint8_t> rows_;    // 1 plane, after the row pass (3D)
  CandidatePlanes<Key, uint8_t> planes_;  // 2 planes: the last that were reduced
  const Key* logits_ = nullptr;
  std::array<int64_t, kAxes> strides_{};
  uint8_t own_code_ = 0;
  int64_t next_ = 0;  // plane to be reduced
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
