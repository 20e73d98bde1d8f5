// The row pass of three columns in AVX-512, from the logits on, in registers: what the passes for
// windows of three begin with, and those for larger ones in 2D.
#pragma once

#include "../targets/prologue_avx512.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../vector/ordered_keys-inl.h"
#include "class_candidates-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Along a row, the best of every place and the two behind it, of both classes.
//
//     keys     a b c d | e            64 places, and the register behind them, which is kept
//              b c d e'               for the next 64: e' is its first lane
//              c d e' e"
//
// kMayBeRare: whether there may be a NaN or a negative zero among the logits.
template <class Key, bool kMayBeRare = true>
class ThreeColumns {
  using Register = KeyRegister<Key>;
  static constexpr int kRegisters = kRegistersPerBlock<Key>;
  static constexpr int kLanes = kKeysPerRegister<Key>;

 public:
  // logits: [length] of the places from `lead` on, which is less than a register's lanes; in front
  // of them and behind them there is no candidate. codes: from place 0 on.
  SCNP_ALWAYS_INLINE ThreeColumns(const Key* logits, int64_t lead, int64_t length,
                                  const uint8_t* codes, uint8_t own_code, uint8_t first_tap,
                                  Infinity<Key> infinity)
      : logits_(logits - lead),
        end_(lead + length),
        codes_(codes),
        own_code_(own_code),
        first_tap_(first_tap),
        infinity_(infinity) {
    const __mmask64 inside = first_places(end_) & (~uint64_t{0} << lead);
    const __mmask64 own = places_with(codes, own_code) & inside;
    const __mmask64 nobodys = places_with(codes, kInvalidPixel) | ~inside;
    const __m512i bits =
        Register::load_where(mask_of_register<Key>(inside, 0), logits_, _mm512_setzero_si512());
    found_rare_ = Register::rare(bits, infinity) != 0;
    const auto keys = keys_of_register<kMayBeRare, Key>(
        bits, mask_of_register<Key>(own, 0), mask_of_register<Key>(own | nobodys, 0), infinity);
    first_[kBackground] = keys.background;
    first_[kForeground] = keys.foreground;
  }

  // Of the 64 places from `place` on; blocks in ascending order, from 0 on.
  SCNP_ALWAYS_INLINE void next_block(int64_t place, BestOfBlock<Key>& background,
                                     BestOfBlock<Key>& foreground) {
    const int64_t from = place + kLanes;
    __m512i bits[kRegisters];
    load(from, bits);
    const __mmask64 own = places_with(codes_ + from, own_code_);
    const __mmask64 own_or_invalid = own | places_with(codes_ + from, kInvalidPixel);
    __m512i keys[kClasses][kRegisters + 1] = {{first_[kBackground]}, {first_[kForeground]}};
    if (has_rare(bits)) {
      found_rare_ = true;
      make_keys<true>(bits, own, own_or_invalid, keys);
    } else {
      make_keys<false>(bits, own, own_or_invalid, keys);
    }
    background = best_of_three(keys[kBackground]);
    foreground = best_of_three(keys[kForeground]);
    first_[kBackground] = keys[kBackground][kRegisters];
    first_[kForeground] = keys[kForeground][kRegisters];
  }
  // Whether there was one so far.
  bool found_rare() const {
    return found_rare_;
  }

 private:
  SCNP_ALWAYS_INLINE bool has_rare(const __m512i* bits) const {
    if constexpr (!kMayBeRare) {
      return false;
    }
    typename Register::Mask rare[kRegisters];
    for (int r = 0; r < kRegisters; ++r) {
      rare[r] = Register::rare(bits[r], infinity_);
    }
    return Register::joined(rare) != 0;
  }
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
  SCNP_ALWAYS_INLINE void make_keys(const __m512i* bits, __mmask64 own, __mmask64 own_or_invalid,
                                    __m512i (&keys)[kClasses][kRegisters + 1]) const {
    for (int r = 0; r < kRegisters; ++r) {
      const auto both =
          keys_of_register<kRare, Key>(bits[r], mask_of_register<Key>(own, r),
                                       mask_of_register<Key>(own_or_invalid, r), infinity_);
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
  Infinity<Key> infinity_;
  __m512i first_[kClasses];  // keys of the first register of the next block
  bool found_rare_;
};

// The rows of a tile's channel.
template <class Key>
class LogitRows {
 public:
  LogitRows(Scratch& scratch, const Geometry& geometry, const PlaneLayout& layout,
            Infinity<Key> infinity)
      : layout_(layout),
        lead_(layout.columns.begin + layout.reach[1] - layout.own_columns.begin),
        first_tap_(static_cast<uint8_t>(layout.first_tap(geometry))),
        infinity_(infinity),
        row_(scratch.array<Key>(layout.columns.length())) {
  }
  // See PenalizedPlanes.
  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t own_code) {
    logits_ = logits;
    strides_ = std::to_array(strides);
    own_code_ = own_code;
  }

  uint8_t own_code() const {
    return own_code_;
  }
  // codes: of the row's places. One row at a time: the next may overwrite a copy of its logits.
  template <bool kMayBeRare = true>
  ThreeColumns<Key, kMayBeRare> three_columns(int64_t z, int64_t y, const uint8_t* codes) {
    const Key* logits = at(z, y, layout_.columns.begin);
    const int64_t length = layout_.columns.length();
    if (strides_[kInner] != 1) {
      gather_row(logits, strides_[kInner], length, row_);
      logits = row_;
    }
    return {logits, lead_, length, codes, own_code_, first_tap_, infinity_};
  }
  // Asks for the logits of 64 pixels of a plane that is read soon, `place` places behind the tile's
  // first one. A copy for the loop: a store to bytes may change anything else.
  struct Ahead {
    const Key* first;
    int64_t stride;

    SCNP_ALWAYS_INLINE void fetch(int64_t place) const {
      fetch_ahead(first + place * stride, kBlock, stride);
    }
  };
  Ahead ahead(int64_t z) const {
    return {at(z, layout_.own_rows.begin, layout_.own_columns.begin), strides_[kInner]};
  }

 private:
  const Key* at(int64_t z, int64_t y, int64_t x) const {
    return logits_ + z * strides_[kOuter] + y * strides_[kMiddle] + x * strides_[kInner];
  }

  const PlaneLayout& layout_;
  const int64_t lead_;
  const uint8_t first_tap_;
  const Infinity<Key> infinity_;
  Key* row_;  // [columns], where logits are not contiguous
  const Key* logits_ = nullptr;
  std::array<int64_t, kAxes> strides_{};
  uint8_t own_code_ = 0;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
