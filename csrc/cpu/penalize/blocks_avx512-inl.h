// One block of the forward pass in AVX-512, for taps of one byte: comparing 64 keys gives one mask,
// which then moves 64 taps in one instruction. Compilers make vectors of bytes from their masks
// instead, which takes twice as many instructions.
//
//     keys, 4 registers of 16 (float32)    >    4 masks  ->  1 mask of 64  ->  taps, 1 register
//
// The results are those of the loops that serve other targets and wider taps.
#pragma once

#include "../targets/prologue_avx512.h"

#include <cstdint>
#include <limits>
#include <type_traits>

#include "../tiling/class_codes-inl.h"
#include "../vector/registers_avx512-inl.h"
#include "candidates-inl.h"
#include "penalized_planes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

inline __mmask64 pixels_with(const uint8_t* codes, uint8_t code) {
  return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(codes),
                                _mm512_set1_epi8(static_cast<char>(code)));
}

// Which of 64 pixels belong to the class. Kept as all-ones vectors, since AVX-512 has only seven
// usable mask registers.
template <class Key>
class ClassMask {
  using Register = KeyRegister<Key>;

 public:
  SCNP_ALWAYS_INLINE ClassMask(const uint8_t* codes, uint8_t class_code)
      : mask_(pixels_with(codes, class_code)) {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      ones_[r] = Register::ones_where(mask_of_register<Key>(mask_, r));
    }
  }
  // Choose the r-th register of keys, or all taps: `foreground` at the class's pixels, elsewhere
  // `background`.
  SCNP_ALWAYS_INLINE __m512i keys(int r, __m512i background, __m512i foreground) const {
    return _mm512_ternarylogic_epi64(ones_[r], foreground, background, 0xca);
  }
  SCNP_ALWAYS_INLINE __m512i taps(__m512i background, __m512i foreground) const {
    return _mm512_mask_mov_epi8(background, mask_, foreground);
  }
  // Complements the r-th register of keys at the class's pixels.
  SCNP_ALWAYS_INLINE __m512i complemented(int r, __m512i keys) const {
    return _mm512_xor_si512(keys, ones_[r]);
  }

 private:
  __mmask64 mask_;
  __m512i ones_[kRegistersPerBlock<Key>];
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

// The best candidates so far for 64 pixels.
template <class Key>
class BestOfBlock {
  using Register = KeyRegister<Key>;

 public:
  BestOfBlock() = default;
  // Begins with registers of keys that all have the same tap.
  SCNP_ALWAYS_INLINE BestOfBlock(const __m512i* keys, uint8_t tap) : taps_(all_taps(tap)) {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      keys_[r] = keys[r];
    }
  }
  template <class Source>
  explicit BestOfBlock(const Source& source) : taps_(taps_of(source)) {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      keys_[r] = _mm512_loadu_si512(source.key + r * kKeysPerRegister<Key>);
    }
  }
  // Begins with the candidates of each pixel's class. Both sources are displaced by the same number
  // of taps.
  SCNP_ALWAYS_INLINE BestOfBlock(const CandidateSource<Key, uint8_t>& background,
                                 const CandidateSource<Key, uint8_t>& foreground,
                                 const ClassMask<Key>& in_class)
      : taps_(_mm512_add_epi8(taps_of_class(background, foreground, in_class),
                              all_taps(background.base))) {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      keys_[r] = keys_of_class(background, foreground, in_class, r);
    }
  }

  template <class Source>
  void replace_if_better(const Source& source) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const __m512i keys = _mm512_loadu_si512(source.key + r * kKeysPerRegister<Key>);
      better[r] = Register::greater(keys, keys_[r]);
      keys_[r] = Register::larger(keys, keys_[r]);
    }
    taps_ = _mm512_mask_mov_epi8(taps_, Register::joined(better), taps_of(source));
  }
  SCNP_ALWAYS_INLINE void replace_if_better(const CandidateSource<Key, uint8_t>& background,
                                            const CandidateSource<Key, uint8_t>& foreground,
                                            const ClassMask<Key>& in_class) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const __m512i keys = keys_of_class(background, foreground, in_class, r);
      better[r] = Register::greater(keys, keys_[r]);
      keys_[r] = Register::larger(keys, keys_[r]);
    }
    taps_ = _mm512_mask_add_epi8(taps_, Register::joined(better),
                                 taps_of_class(background, foreground, in_class),
                                 all_taps(background.base));
  }

  SCNP_ALWAYS_INLINE void replace_if_better(const __m512i* keys, uint8_t tap) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      better[r] = Register::greater(keys[r], keys_[r]);
      keys_[r] = Register::larger(keys[r], keys_[r]);
    }
    taps_ = _mm512_mask_mov_epi8(taps_, Register::joined(better), all_taps(tap));
  }
  // Compares with another block, whose taps are displaced.
  SCNP_ALWAYS_INLINE void replace_if_better(const BestOfBlock& other, uint8_t displacement) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      better[r] = Register::greater(other.keys_[r], keys_[r]);
      keys_[r] = Register::larger(other.keys_[r], keys_[r]);
    }
    taps_ =
        _mm512_mask_add_epi8(taps_, Register::joined(better), other.taps_, all_taps(displacement));
  }
  // Compares with the candidates `n` pixels and taps further on: in `here`, and behind its end in
  // `next`, the following block.
  template <int n>
  SCNP_ALWAYS_INLINE void replace_by_later_if_better(const BestOfBlock& here,
                                                     const BestOfBlock& next) {
    static_assert(0 < n && n < 16);
    BestOfBlock later;
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      constexpr int lane = n % kKeysPerRegister<Key>;
      const int low = r + n / kKeysPerRegister<Key>;
      later.keys_[r] =
          Register::template shifted<lane>(key_of(here, next, low), key_of(here, next, low + 1));
    }
    // Shifts every sixteen bytes together with the sixteen behind them.
    later.taps_ = _mm512_alignr_epi8(_mm512_alignr_epi64(next.taps_, here.taps_, 2), here.taps_, n);
    replace_if_better(later, n);
  }
  // Compares with the best of each pixel's class, whose taps are displaced.
  SCNP_ALWAYS_INLINE void replace_if_better(const BestOfBlock& background,
                                            const BestOfBlock& foreground, uint8_t displacement,
                                            const ClassMask<Key>& in_class) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const __m512i keys = in_class.keys(r, background.keys_[r], foreground.keys_[r]);
      better[r] = Register::greater(keys, keys_[r]);
      keys_[r] = Register::larger(keys, keys_[r]);
    }
    taps_ = _mm512_mask_add_epi8(taps_, Register::joined(better),
                                 in_class.taps(background.taps_, foreground.taps_),
                                 all_taps(displacement));
  }

  void store(Key* keys, uint8_t* taps) const {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      _mm512_storeu_si512(keys + r * kKeysPerRegister<Key>, keys_[r]);
    }
    _mm512_storeu_si512(taps, taps_);
  }
  // Stores the bits of the logits that the keys were made of, from index `block` of the plane on.
  // Where `invalid`, the winner is the centre. Streamed logits must be aligned.
  SCNP_ALWAYS_INLINE void store_logits(const ClassMask<Key>& in_class, __mmask64 invalid,
                                       uint8_t centre_tap, const BlockResults<Key>& results,
                                       int64_t block) const {
    const bool is_gated = results.gate != nullptr;
    __mmask64 keeps = invalid;
    if (is_gated) {
      const __m512i open = _mm512_loadu_si512(results.gate + block);
      keeps |= _mm512_testn_epi8_mask(open, open);
    }
    const __m512i magnitude = Register::all(std::numeric_limits<Key>::max());
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const int64_t i = block + r * kKeysPerRegister<Key>;
      __m512i bits = flipped(in_class.complemented(r, keys_[r]), magnitude);
      if (is_gated) {
        bits = Register::load_where(mask_of_register<Key>(keeps, r), results.own + i, bits);
      }
      if (results.streamed) {
        _mm512_stream_si512(reinterpret_cast<__m512i*>(results.penalized + i), bits);
      } else {
        _mm512_storeu_si512(results.penalized + i, bits);
      }
    }
    _mm512_storeu_si512(results.winners + block,
                        _mm512_mask_mov_epi8(taps_, keeps, all_taps(centre_tap)));
  }

  static __m512i complement(__m512i a) {
    return _mm512_ternarylogic_epi64(a, a, a, 0x55);
  }
  // Returns a ^ (signs of a & magnitude), see flip_negative.
  static __m512i flipped(__m512i a, __m512i magnitude) {
    return _mm512_ternarylogic_epi64(a, Register::signs(a), magnitude, 0x78);
  }

 private:
  // Returns the r-th register of two blocks one behind the other.
  static SCNP_ALWAYS_INLINE __m512i key_of(const BestOfBlock& here, const BestOfBlock& next,
                                           int r) {
    constexpr int registers = kRegistersPerBlock<Key>;
    return r < registers ? here.keys_[r] : next.keys_[r - registers];
  }
  static __m512i all_taps(uint8_t tap) {
    return _mm512_set1_epi8(static_cast<char>(tap));
  }
  static __m512i taps_of(const PixelSource<Key, uint8_t>& source) {
    return all_taps(source.row_tap);
  }
  static __m512i taps_of(const CandidateSource<Key, uint8_t>& source) {
    return _mm512_add_epi8(_mm512_loadu_si512(source.taps), all_taps(source.base));
  }
  static SCNP_ALWAYS_INLINE __m512i taps_of_class(const CandidateSource<Key, uint8_t>& background,
                                                  const CandidateSource<Key, uint8_t>& foreground,
                                                  const ClassMask<Key>& in_class) {
    return in_class.taps(_mm512_loadu_si512(background.taps), _mm512_loadu_si512(foreground.taps));
  }
  static SCNP_ALWAYS_INLINE __m512i keys_of_class(const CandidateSource<Key, uint8_t>& background,
                                                  const CandidateSource<Key, uint8_t>& foreground,
                                                  const ClassMask<Key>& in_class, int r) {
    const int64_t from = r * kKeysPerRegister<Key>;
    return in_class.keys(r, _mm512_loadu_si512(background.key + from),
                         _mm512_loadu_si512(foreground.key + from));
  }

  __m512i keys_[kRegistersPerBlock<Key>];
  __m512i taps_;
};

// Makes keys of one register of logits, see make_keys. kRare: whether a NaN or a negative zero may
// be among them.
struct KeysOfRegister {
  __m512i background;
  __m512i foreground;
};
template <bool kRare, class Key>
SCNP_ALWAYS_INLINE KeysOfRegister
keys_of_register(__m512i bits, typename KeyRegister<Key>::Mask in_class,
                 typename KeyRegister<Key>::Mask in_class_or_invalid, Infinity<Key> infinity) {
  using Register = KeyRegister<Key>;
  const __m512i magnitude = Register::all(std::numeric_limits<Key>::max());
  const __m512i smallest = Register::all(std::numeric_limits<Key>::min());
  const __m512i key = BestOfBlock<Key>::flipped(bits, magnitude);
  if constexpr (!kRare) {
    return {Register::where(in_class_or_invalid, smallest, key),
            Register::complement_where(in_class, key, smallest)};
  }
  const auto nan = Register::greater(_mm512_and_si512(bits, magnitude), Register::all(infinity));
  const __m512i positive_zero = Register::increased_where(Register::equal(bits, smallest), key);
  // The highest key is NaN's, the lowest one means "no candidate".
  const __m512i of_background = Register::where(nan, magnitude, positive_zero);
  const __m512i of_foreground =
      Register::where(nan, magnitude, BestOfBlock<Key>::complement(positive_zero));
  return {Register::where(in_class_or_invalid, smallest, of_background),
          Register::where(in_class, of_foreground, smallest)};
}

// See make_keys.
template <class Key>
inline void make_keys_of_block(const Key* logits, const uint8_t* codes, uint8_t class_code,
                               Infinity<Key> infinity, Key* background, Key* foreground) {
  using Register = KeyRegister<Key>;
  constexpr int registers = kRegistersPerBlock<Key>;
  const __mmask64 in_class = pixels_with(codes, class_code);
  const __mmask64 in_class_or_invalid = in_class | pixels_with(codes, kInvalidPixel);
  __m512i bits[registers];
  typename Register::Mask rare[registers];
  for (int r = 0; r < registers; ++r) {
    bits[r] = _mm512_loadu_si512(logits + r * kKeysPerRegister<Key>);
    rare[r] = Register::rare(bits[r], infinity);
  }
  const auto store = [&](auto may_be_rare) {
    for (int r = 0; r < registers; ++r) {
      const int64_t from = r * kKeysPerRegister<Key>;
      const auto keys = keys_of_register<may_be_rare, Key>(
          bits[r], mask_of_register<Key>(in_class, r),
          mask_of_register<Key>(in_class_or_invalid, r), infinity);
      _mm512_storeu_si512(background + from, keys.background);
      _mm512_storeu_si512(foreground + from, keys.foreground);
    }
  };
  if (Register::joined(rare) == 0) {
    store(std::false_type{});
  } else {
    store(std::true_type{});
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
