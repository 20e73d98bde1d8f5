// The row pass over three columns, from the logits on, in registers. The path for windows of three
// begins with it, and so does the one for larger windows in 2D.
#pragma once

#include "../targets/prologue_registers.h"

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
//     keys     a b c d | e            a to d: a block's keys, drawn as a register of four; e: the
//              b c d e'               register behind it, which is kept for the next block, and e'
//              c d e' e"              and e" are its first two keys
//
// kMayBeRare: whether there may be a NaN or a negative zero among the logits.
template <class Key, bool kMayBeRare = true>
class ThreeColumns {
  using Keys = KeyRegister<Key>;
  static constexpr int kRegisters = kRegistersPerBlock<Key>;
  static constexpr int kLanes = kKeysPerRegister<Key>;
  static constexpr int kAtOnce = kRegistersAtOnce<Key>;
  static constexpr int kMostLead = 7;  // of windows of fifteen

 public:
  // logits: [length], the first of which stands at index `lead`, at most kMostLead; in front of
  // them and behind them there is no candidate. codes: from index 0 on.
  SCNP_ALWAYS_INLINE ThreeColumns(const Key* logits, int64_t lead, int64_t length,
                                  const uint8_t* codes, uint8_t class_code, uint8_t first_tap,
                                  Infinity<Key> infinity)
      : logits_(logits - lead),
        begin_(lead),
        end_(lead + length),
        codes_(codes),
        class_code_(class_code),
        first_tap_(first_tap),
        infinity_(infinity) {
    // In front of the row, codes say that there is no candidate.
    Register bits = Keys::load_between(logits_, lead, end_);
    found_rare_ = has_rare<Key>(bits, infinity);
    if (kMayBeRare && found_rare_) [[unlikely]] {
      Key copied[kPixels] = {};
      Keys::store(copied, bits);
      without_rare<Key>(copied, codes, class_code, infinity, copied);
      bits = Keys::load(copied);
    }
    const BlockCodes<Key> of_block(codes);
    first_ = keys_of_register<Key>(bits, of_block.are(0, class_code),
                                   of_block.are(0, class_code, kInvalidPixel));
  }

  // Finds the best for a block's pixels from `index` on. Blocks come in ascending order, from 0 on.
  // In front of the row and behind it, logits are 0. There either the codes say that no pixel is a
  // candidate, or the next row begins, and overwrites what is found when it is read. Registers hold
  // the block's logits where there are many of them, else memory does.
  // consumer: is given the best keys of both classes, register by register, then the taps.
  template <class Consumer>
  SCNP_ALWAYS_INLINE void next_block(int64_t index, Consumer& consumer) {
    const int64_t from = index + kLanes;
    const uint8_t* codes = codes_ + from;
    const Key* logits = logits_ + from;
    Register bits[kRegisters];
    Key copied[kPixels];
    const bool in_front = kLanes <= kMostLead && from < begin_;
    const bool at_edge = in_front || from + kPixels > end_;
    if constexpr (kHasManyRegisters) {
      if (at_edge) [[unlikely]] {
        load_block_between<Key>(logits, begin_ - from, end_ - from, bits);
      } else {
        load_block<Key>(logits, bits);
      }
      if (kMayBeRare && has_rare<Key>(bits, infinity_)) [[unlikely]] {
        found_rare_ = true;
        store_block<Key>(copied, bits);
        without_rare<Key>(copied, codes, class_code_, infinity_, copied);
        load_block<Key>(copied, bits);
      }
    } else {
      if (at_edge) [[unlikely]] {
        load_block_between<Key>(logits, begin_ - from, end_ - from, bits);
        store_block<Key>(copied, bits);
        logits = copied;
      }
      if (kMayBeRare && has_rare<Key>(logits, infinity_)) [[unlikely]] {
        found_rare_ = true;
        without_rare<Key>(logits, codes, class_code_, infinity_, copied);
        logits = copied;
      }
    }
    const BlockCodes<Key> of_block(codes);
    FirstOfThree<Key> background, foreground;
    SCNP_UNROLL
    for (int r = 0; r < kRegisters; r += kAtOnce) {
      Register of_background[kAtOnce + 1] = {first_.background};
      Register of_foreground[kAtOnce + 1] = {first_.foreground};
      SCNP_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const Register loaded =
            kHasManyRegisters ? bits[r + i] : Keys::load(logits + (r + i) * kLanes);
        const auto keys = keys_of_register<Key>(loaded, of_block.are(r + i, class_code_),
                                                of_block.are(r + i, class_code_, kInvalidPixel));
        of_background[i + 1] = keys.background;
        of_foreground[i + 1] = keys.foreground;
      }
      first_ = {of_background[kAtOnce], of_foreground[kAtOnce]};
      best_of_three(r, of_background, background);
      best_of_three(r, of_foreground, foreground);
      consumer.keys(r, of_background, of_foreground);
    }
    consumer.taps(taps_of(background), taps_of(foreground));
  }
  // Whether a NaN or a negative zero was seen so far.
  bool found_rare() const {
    return found_rare_;
  }

 private:
  // keys: [kAtOnce + 1]. Finds the first best of a pixel and the two behind it, in one class.
  static SCNP_ALWAYS_INLINE void best_of_three(int r, Register* keys, FirstOfThree<Key>& best) {
    Register second[kAtOnce];
    Register third[kAtOnce];
    SCNP_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      second[i] = Keys::template shifted<1>(keys[i], keys[i + 1]);
      third[i] = Keys::template shifted<2>(keys[i], keys[i + 1]);
    }
    best.choose(r, keys, second, third);
  }
  SCNP_ALWAYS_INLINE Register taps_of(const FirstOfThree<Key>& best) const {
    return ByteRegister::of_three(best.second(), best.third(), first_tap_);
  }

  const Key* logits_;
  int64_t begin_;
  int64_t end_;
  const uint8_t* codes_;
  uint8_t class_code_;
  uint8_t first_tap_;
  Infinity<Key> infinity_;
  KeysOfRegister first_;  // keys of the next block's first register
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
  SCNP_ALWAYS_INLINE ThreeColumns<Key, kMayBeRare> three_columns(int64_t z, int64_t y,
                                                                 const uint8_t* codes) {
    const Key* logits = at(z, y, layout_.columns.begin);
    const int64_t length = layout_.columns.length();
    if (strides_[kInner] != 1) {
      gather_row(logits, strides_[kInner], length, row_);
      logits = row_;
    }
    return {logits, lead_, length, codes, class_code_, first_tap_, infinity_};
  }
  // Prefetches the logits of kBlock pixels of a plane that is read soon, `index` behind the
  // tile's first pixel. Loops hold a copy of this, since a store to bytes may change anything but
  // locals.
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
