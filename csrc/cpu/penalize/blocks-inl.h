// One block of the forward pass in registers, for taps of one byte: comparing a block's keys gives
// one mask, which then moves all of its taps in one instruction. Compilers make vectors of bytes
// from their masks instead, which takes twice as many instructions.
//
//     keys, 4 registers (float32)  a > b  4 masks  ->  1 mask  ->  taps, 1 register
//
// Here a block is what one register holds the taps of: kPixels, 64 in AVX-512 and 32 in AVX2.
// The results are those of the loops that serve other instruction sets and wider taps.
#pragma once

#include "../targets/prologue_registers.h"

#include <cstdint>
#include <limits>
#include <type_traits>

#include "../tiling/class_codes-inl.h"
#include "../vector/registers-inl.h"
#include "candidates-inl.h"
#include "penalized_planes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

inline PixelMask pixels_with(const uint8_t* codes, uint8_t code) {
  return ByteRegister::equal(ByteRegister::load(codes), ByteRegister::all(code));
}

// Which of a block's pixels belong to the class. Kept as all-ones vectors, since AVX-512 has only
// seven usable mask registers.
template <class Key>
class ClassMask {
  using Keys = KeyRegister<Key>;

 public:
  SCNP_ALWAYS_INLINE ClassMask(const uint8_t* codes, uint8_t class_code)
      : mask_(pixels_with(codes, class_code)) {
    typename Keys::Mask masks[kRegistersPerBlock<Key>];
    masks_of_registers<Key>(mask_, masks);
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      ones_[r] = Keys::ones_where(masks[r]);
    }
  }
  // Choose the r-th register of keys, or all taps: `foreground` at the class's pixels, elsewhere
  // `background`.
  SCNP_ALWAYS_INLINE Register keys(int r, Register background, Register foreground) const {
    return Keys::selected(ones_[r], foreground, background);
  }
  SCNP_ALWAYS_INLINE Register taps(Register background, Register foreground) const {
    return ByteRegister::where(mask_, foreground, background);
  }
  // Complements the r-th register of keys at the class's pixels.
  SCNP_ALWAYS_INLINE Register complemented(int r, Register keys) const {
    return Keys::exclusive_or(keys, ones_[r]);
  }

 private:
  PixelMask mask_;
  Register ones_[kRegistersPerBlock<Key>];
};

// Where the blocks of a plane go; see PlaneResults.
template <class Key>
struct BlockResults {
  Key* penalized;
  uint8_t* winners;
  bool streamed;
  const uint8_t* gate;
  const Key* own;

  explicit BlockResults(const PlaneResults<Key>& plane)
      : penalized(plane.penalized),
        winners(static_cast<uint8_t*>(plane.winners)),
        streamed(plane.streamed),
        gate(plane.gate),
        own(plane.own) {
  }
};

// Writes a block's results, from index `block` of the plane on: register by register the bits of
// the logits that the best keys were made of, then the winners. Where `invalid`, the winner is the
// centre. Streamed logits must be aligned.
template <class Key>
class BlockWriter {
  using Keys = KeyRegister<Key>;

 public:
  SCNP_ALWAYS_INLINE BlockWriter(PixelMask invalid, uint8_t centre_tap,
                                 const BlockResults<Key>& results, int64_t block)
      : keeps_(invalid), centre_tap_(centre_tap), results_(results), block_(block) {
    if (results.gate != nullptr) {
      keeps_ |= ByteRegister::zero(ByteRegister::load(results.gate + block));
      masks_of_registers<Key>(keeps_, keeps_of_register_);
    }
  }
  // keys: of the background, or the complement of those of the foreground.
  SCNP_ALWAYS_INLINE void write_logits(int r, Register keys) const {
    const int64_t i = block_ + r * kKeysPerRegister<Key>;
    Register bits = Keys::flipped(keys);
    if (results_.gate != nullptr) {
      bits = Keys::load_where(keeps_of_register_[r], results_.own + i, bits);
    }
    if (results_.streamed) {
      Keys::stream(results_.penalized + i, bits);
    } else {
      Keys::store(results_.penalized + i, bits);
    }
  }
  SCNP_ALWAYS_INLINE void write_winners(Register taps) const {
    ByteRegister::store(results_.winners + block_,
                        ByteRegister::where(keeps_, ByteRegister::all(centre_tap_), taps));
  }

 private:
  PixelMask keeps_;
  typename Keys::Mask keeps_of_register_[kRegistersPerBlock<Key>];
  const uint8_t centre_tap_;
  const BlockResults<Key>& results_;
  const int64_t block_;
};

// The best candidates so far for the pixels of a block.
template <class Key>
class BestOfBlock {
  using Keys = KeyRegister<Key>;

 public:
  BestOfBlock() = default;
  // What finds the candidates sets them: the keys register by register, then the taps.
  SCNP_ALWAYS_INLINE void set_keys(int r, const Register* keys) {
    SCNP_UNROLL
    for (int i = 0; i < kRegistersAtOnce<Key>; ++i) {
      keys_[r + i] = keys[i];
    }
  }
  SCNP_ALWAYS_INLINE void set_taps(Register taps) {
    taps_ = taps;
  }
  template <class Source>
  explicit BestOfBlock(const Source& source) : taps_(taps_of(source)) {
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      keys_[r] = Keys::load(source.key + r * kKeysPerRegister<Key>);
    }
  }
  // Begins with the candidates of each pixel's class. Both sources are displaced by the same number
  // of taps.
  SCNP_ALWAYS_INLINE BestOfBlock(const CandidateSource<Key, uint8_t>& background,
                                 const CandidateSource<Key, uint8_t>& foreground,
                                 const ClassMask<Key>& in_class)
      : taps_(ByteRegister::added(taps_of_class(background, foreground, in_class),
                                  ByteRegister::all(background.base))) {
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      keys_[r] = keys_of_class(background, foreground, in_class, r);
    }
  }

  template <class Source>
  void replace_if_better(const Source& source) {
    typename Keys::Mask better[kRegistersPerBlock<Key>];
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const Register keys = Keys::load(source.key + r * kKeysPerRegister<Key>);
      better[r] = Keys::greater(keys, keys_[r]);
      keys_[r] = Keys::larger(keys, keys_[r]);
    }
    taps_ = ByteRegister::where(Keys::joined(better), taps_of(source), taps_);
  }
  SCNP_ALWAYS_INLINE void replace_if_better(const CandidateSource<Key, uint8_t>& background,
                                            const CandidateSource<Key, uint8_t>& foreground,
                                            const ClassMask<Key>& in_class) {
    typename Keys::Mask better[kRegistersPerBlock<Key>];
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const Register keys = keys_of_class(background, foreground, in_class, r);
      better[r] = Keys::greater(keys, keys_[r]);
      keys_[r] = Keys::larger(keys, keys_[r]);
    }
    taps_ = ByteRegister::sum_where(Keys::joined(better),
                                    taps_of_class(background, foreground, in_class),
                                    ByteRegister::all(background.base), taps_);
  }

  // Compares with another block, whose taps are displaced.
  SCNP_ALWAYS_INLINE void replace_if_better(const BestOfBlock& other, uint8_t displacement) {
    typename Keys::Mask better[kRegistersPerBlock<Key>];
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      better[r] = Keys::greater(other.keys_[r], keys_[r]);
      keys_[r] = Keys::larger(other.keys_[r], keys_[r]);
    }
    taps_ = ByteRegister::sum_where(Keys::joined(better), other.taps_,
                                    ByteRegister::all(displacement), taps_);
  }
  // Compares with the candidates `n` pixels and taps further on: in `here`, and behind its end in
  // `next`, the following block.
  template <int n>
  SCNP_ALWAYS_INLINE void replace_by_later_if_better(const BestOfBlock& here,
                                                     const BestOfBlock& next) {
    static_assert(0 < n && n < 16);
    BestOfBlock later;
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      constexpr int lane = n % kKeysPerRegister<Key>;
      const int low = r + n / kKeysPerRegister<Key>;
      later.keys_[r] =
          Keys::template shifted<lane>(key_of(here, next, low), key_of(here, next, low + 1));
    }
    later.taps_ = ByteRegister::template shifted<n>(here.taps_, next.taps_);
    replace_if_better(later, n);
  }
  void store(Key* keys, uint8_t* taps) const {
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      Keys::store(keys + r * kKeysPerRegister<Key>, keys_[r]);
    }
    ByteRegister::store(taps, taps_);
  }
  // Stores the bits of the logits that the keys were made of, from index `block` of the plane on.
  // Where `invalid`, the winner is the centre. Streamed logits must be aligned.
  SCNP_ALWAYS_INLINE void store_logits(const ClassMask<Key>& in_class, PixelMask invalid,
                                       uint8_t centre_tap, const BlockResults<Key>& results,
                                       int64_t block) const {
    const BlockWriter<Key> writer(invalid, centre_tap, results, block);
    SCNP_UNROLL
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      writer.write_logits(r, in_class.complemented(r, keys_[r]));
    }
    writer.write_winners(taps_);
  }

 private:
  // Returns the r-th register of two blocks one behind the other.
  static SCNP_ALWAYS_INLINE Register key_of(const BestOfBlock& here, const BestOfBlock& next,
                                            int r) {
    constexpr int registers = kRegistersPerBlock<Key>;
    return r < registers ? here.keys_[r] : next.keys_[r - registers];
  }
  static Register taps_of(const PixelSource<Key, uint8_t>& source) {
    return ByteRegister::all(source.row_tap);
  }
  static Register taps_of(const CandidateSource<Key, uint8_t>& source) {
    return ByteRegister::added(ByteRegister::load(source.taps), ByteRegister::all(source.base));
  }
  static SCNP_ALWAYS_INLINE Register taps_of_class(const CandidateSource<Key, uint8_t>& background,
                                                   const CandidateSource<Key, uint8_t>& foreground,
                                                   const ClassMask<Key>& in_class) {
    return in_class.taps(ByteRegister::load(background.taps), ByteRegister::load(foreground.taps));
  }
  static SCNP_ALWAYS_INLINE Register keys_of_class(const CandidateSource<Key, uint8_t>& background,
                                                   const CandidateSource<Key, uint8_t>& foreground,
                                                   const ClassMask<Key>& in_class, int r) {
    const int64_t from = r * kKeysPerRegister<Key>;
    return in_class.keys(r, Keys::load(background.key + from), Keys::load(foreground.key + from));
  }

  Register keys_[kRegistersPerBlock<Key>];
  Register taps_;
};

// Makes keys of one register of logits without a NaN or a negative zero, see make_keys.
struct KeysOfRegister {
  Register background;
  Register foreground;
};
template <class Key>
SCNP_ALWAYS_INLINE KeysOfRegister
keys_of_register(Register bits, typename KeyRegister<Key>::Mask in_class,
                 typename KeyRegister<Key>::Mask in_class_or_invalid) {
  using Keys = KeyRegister<Key>;
  const Register key = Keys::flipped(bits);
  return {Keys::unless(in_class_or_invalid, key), Keys::complement_only(in_class, key)};
}

// Writes a block's logits with other bits for NaN and negative zero, of which keys_of_register
// makes the keys that these have: a NaN becomes the one that comes first in its pixel's class, and
// zero becomes positive.
template <class Key>
void without_rare(const Key* logits, const uint8_t* codes, uint8_t class_code,
                  Infinity<Key> infinity, Key* result) {
  using Keys = KeyRegister<Key>;
  const BlockCodes<Key> of_block(codes);
  SCNP_UNROLL
  for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
    const int64_t i = r * kKeysPerRegister<Key>;
    const Register bits = Keys::load(logits + i);
    const Register highest = Keys::all(kNanKey<Key>);
    const Register nan = Keys::where(of_block.are(r, class_code), Keys::all(-1), highest);
    const Register finite =
        Keys::where(Keys::equal(bits, Keys::all(kNoCandidate<Key>)), Keys::all(0), bits);
    Keys::store(result + i, Keys::where(Keys::nan(bits, infinity), nan, finite));
  }
}

// As make_keys, of kPixels pixels.
template <class Key>
inline void make_keys_of_block(const Key* logits, const uint8_t* codes, uint8_t class_code,
                               Infinity<Key> infinity, Key* background, Key* foreground) {
  using Keys = KeyRegister<Key>;
  Key copied[kPixels];
  if (has_rare<Key>(logits, infinity)) [[unlikely]] {
    without_rare<Key>(logits, codes, class_code, infinity, copied);
    logits = copied;
  }
  const BlockCodes<Key> of_block(codes);
  SCNP_UNROLL
  for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
    const int64_t i = r * kKeysPerRegister<Key>;
    const auto keys = keys_of_register<Key>(Keys::load(logits + i), of_block.are(r, class_code),
                                            of_block.are(r, class_code, kInvalidPixel));
    Keys::store(background + i, keys.background);
    Keys::store(foreground + i, keys.foreground);
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
