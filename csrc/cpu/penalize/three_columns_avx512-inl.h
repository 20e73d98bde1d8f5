// The row pass over three columns in AVX-512, from the logits on, in registers. The path for
// windows of three begins with it, and so does the one for larger windows in 2D.
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

// The best of every pixel of a row and the two pixels behind it, for both classes.
//
//     keys     a b c d | e            64 pixels, and the register behind them, which is kept
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
  // logits: [length], the first of which stands at index `lead`, less than a register's lanes; in
  // front of them and behind them there is no candidate. codes: from index 0 on.
  SCNP_ALWAYS_INLINE ThreeColumns(const Key* logits, int64_t lead, int64_t length,
                                  const uint8_t* codes, uint8_t class_code, uint8_t first_tap,
                                  Infinity<Key> infinity)
      : logits_(logits - lead),
        end_(lead + length),
        codes_(codes),
        class_code_(class_code),
        first_tap_(first_tap),
        infinity_(infinity) {
    const __mmask64 inside = first_pixels(end_) & (~uint64_t{0} << lead);
    const __mmask64 in_class = pixels_with(codes, class_code) & inside;
    const __mmask64 outside = pixels_with(codes, kInvalidPixel) | ~inside;
    const __m512i bits =
        Register::load_where(mask_of_register<Key>(inside, 0), logits_, _mm512_setzero_si512());
    found_rare_ = Register::rare(bits, infinity) != 0;
    const auto keys =
        keys_of_register<kMayBeRare, Key>(bits, mask_of_register<Key>(in_class, 0),
                                          mask_of_register<Key>(in_class | outside, 0), infinity);
    first_[kBackground] = keys.background;
    first_[kForeground] = keys.foreground;
  }

  // Finds the best for 64 pixels from `index` on. Blocks come in ascending order, from 0 on.
  SCNP_ALWAYS_INLINE void next_block(int64_t index, BestOfBlock<Key>& background,
                                     BestOfBlock<Key>& foreground) {
    const int64_t from = index + kLanes;
    __m512i bits[kRegisters];
    load(from, bits);
    const __mmask64 in_class = pixels_with(codes_ + from, class_code_);
    const __mmask64 in_class_or_invalid = in_class | pixels_with(codes_ + from, kInvalidPixel);
    __m512i keys[kClasses][kRegisters + 1] = {{first_[kBackground]}, {first_[kForeground]}};
    if (has_rare(bits)) {
      found_rare_ = true;
      make_keys<true>(bits, in_class, in_class_or_invalid, keys);
    } else {
      make_keys<false>(bits, in_class, in_class_or_invalid, keys);
    }
    background = best_of_three(keys[kBackground]);
    foreground = best_of_three(keys[kForeground]);
    first_[kBackground] = keys[kBackground][kRegisters];
    first_[kForeground] = keys[kForeground][kRegisters];
  }
  // Whether a NaN or a negative zero was seen so far.
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
  // Loads the logits of 64 pixels, and 0 behind the row's end. There either the codes say that no
  // pixel is a candidate, or the next row begins, and overwrites what is found when it is read.
  SCNP_ALWAYS_INLINE void load(int64_t from, __m512i* bits) const {
    if (from + kBlock <= end_) {
      for (int r = 0; r < kRegisters; ++r) {
        bits[r] = _mm512_loadu_si512(logits_ + from + r * kLanes);
      }
    } else {
      const __mmask64 inside = first_pixels(end_ - from);
      for (int r = 0; r < kRegisters; ++r) {
        bits[r] = Register::load_where(mask_of_register<Key>(inside, r),
                                       logits_ + from + r * kLanes, _mm512_setzero_si512());
      }
    }
  }
  template <bool kRare>
  SCNP_ALWAYS_INLINE void make_keys(const __m512i* bits, __mmask64 in_class,
                                    __mmask64 in_class_or_invalid,
                                    __m512i (&keys)[kClasses][kRegisters + 1]) const {
    for (int r = 0; r < kRegisters; ++r) {
      const auto both =
          keys_of_register<kRare, Key>(bits[r], mask_of_register<Key>(in_class, r),
                                       mask_of_register<Key>(in_class_or_invalid, r), infinity_);
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
  static __mmask64 first_pixels(int64_t count) {
    return _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(std::clamp<int64_t>(count, 0, kBlock)));
  }

  const Key* logits_;
  int64_t end_;
  const uint8_t* codes_;
  uint8_t class_code_;
  uint8_t first_tap_;
  Infinity<Key> infinity_;
  __m512i first_[kClasses];  // keys of the next block's first register
  bool found_rare_;
};

// The rows of a tile's channel.
template <class Key>
class LogitRows {
 public:
  LogitRows(Scratch& scratch, const Geometry& geometry, const PlaneLayout& layout,
            Infinity<Key> infinity)
      : layout_(layout),
        lead_(layout.columns.begin + layout.reach[1] - layout.interior_columns.begin),
        first_tap_(static_cast<uint8_t>(layout.first_tap(geometry))),
        infinity_(infinity),
        row_(scratch.array<Key>(layout.columns.length())) {
  }
  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t class_code) {
    logits_ = logits;
    strides_ = std::to_array(strides);
    class_code_ = class_code;
  }

  uint8_t class_code() const {
    return class_code_;
  }
  // codes: from the row's first pixel on. One row at a time: the next one may overwrite the copy of
  // this one's logits.
  template <bool kMayBeRare = true>
  ThreeColumns<Key, kMayBeRare> three_columns(int64_t z, int64_t y, const uint8_t* codes) {
    const Key* logits = at(z, y, layout_.columns.begin);
    const int64_t length = layout_.columns.length();
    if (strides_[kInner] != 1) {
      gather_row(logits, strides_[kInner], length, row_);
      logits = row_;
    }
    return {logits, lead_, length, codes, class_code_, first_tap_, infinity_};
  }
  // Prefetches the logits of 64 pixels of a plane that is read soon, `index` behind the tile's
  // first pixel. Loops hold a copy of this, since a store to bytes may change anything but locals.
  struct Ahead {
    const Key* first;
    int64_t stride;

    SCNP_ALWAYS_INLINE void fetch(int64_t index) const {
      fetch_ahead(first + index * stride, kBlock, stride);
    }
  };
  Ahead ahead(int64_t z) const {
    return {at(z, layout_.interior_rows.begin, layout_.interior_columns.begin), strides_[kInner]};
  }

 private:
  const Key* at(int64_t z, int64_t y, int64_t x) const {
    return logits_ + z * strides_[kOuter] + y * strides_[kMiddle] + x * strides_[kInner];
  }

  const PlaneLayout& layout_;
  const int64_t lead_;
  const uint8_t first_tap_;
  const Infinity<Key> infinity_;
  Key* row_;  // [columns], for logits that are not contiguous
  const Key* logits_ = nullptr;
  std::array<int64_t, kAxes> strides_{};
  uint8_t class_code_ = 0;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
