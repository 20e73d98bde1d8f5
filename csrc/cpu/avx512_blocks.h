// One block of the forward pass in AVX-512, for taps of one byte: comparing 64 keys gives one mask,
// which then moves 64 taps in one instruction. Compilers make vectors of bytes from their masks
// instead, which takes twice as many instructions.
//
//     keys   4 registers of 16 (float32)    >    4 masks of 16  ->  1 mask of 64  ->  taps, 1
//            2 registers of 32 (half types)      2 masks of 32                        register of
//            64 8 registers of 8 (float64)          8 masks of 8
//
// The same results as the loops that serve the other capabilities, and wider taps.
#pragma once

#include "candidates.h"
#include "pixel_codes.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// What AVX-512 does, for keys of each width.
template <class Key>
struct KeyRegister;

template <>
struct KeyRegister<int16_t> {
  using Mask = __mmask32;
  static __m512i all(int16_t key) {
    return _mm512_set1_epi16(key);
  }
  static __m512i larger(__m512i a, __m512i b) {
    return _mm512_max_epi16(a, b);
  }
  static Mask greater(__m512i a, __m512i b) {
    return _mm512_cmpgt_epi16_mask(a, b);
  }
  static Mask equal(__m512i a, __m512i b) {
    return _mm512_cmpeq_epi16_mask(a, b);
  }
  static __m512i signs(__m512i a) {
    return _mm512_srai_epi16(a, 15);
  }
  static __m512i increased_where(Mask mask, __m512i a) {
    return _mm512_mask_sub_epi16(a, mask, a, _mm512_set1_epi16(-1));
  }
  static __m512i where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_mov_epi16(otherwise, mask, a);
  }
  static __m512i load_where(Mask mask, const int16_t* a, __m512i otherwise) {
    return _mm512_mask_loadu_epi16(otherwise, mask, a);
  }
  static __m512i complement_where(Mask mask, __m512i a, __m512i otherwise) {
    return where(mask, _mm512_ternarylogic_epi64(a, a, a, 0x55), otherwise);
  }
  template <int n>
  static __m512i shifted(__m512i low, __m512i high) {
    alignas(64) static constexpr std::array<int16_t, 32> lanes = [] {
      std::array<int16_t, 32> numbers{};
      for (int i = 0; i < 32; ++i) {
        numbers[i] = static_cast<int16_t>(i + n);
      }
      return numbers;
    }();
    return _mm512_permutex2var_epi16(low, _mm512_load_si512(lanes.data()), high);
  }
  template <class Format>
  static Mask rare(__m512i bits) {
    return greater(_mm512_and_si512(bits, all(0x7fff)), all(Format::kInfinity)) |
           equal(bits, all(-0x8000));
  }
  static __mmask64 joined(const Mask* masks) {
    return _mm512_kunpackd(masks[1], masks[0]);
  }
};

template <>
struct KeyRegister<int32_t> {
  using Mask = __mmask16;
  static __m512i all(int32_t key) {
    return _mm512_set1_epi32(key);
  }
  static __m512i larger(__m512i a, __m512i b) {
    return _mm512_max_epi32(a, b);
  }
  static Mask greater(__m512i a, __m512i b) {
    return _mm512_cmpgt_epi32_mask(a, b);
  }
  static Mask equal(__m512i a, __m512i b) {
    return _mm512_cmpeq_epi32_mask(a, b);
  }
  static __m512i signs(__m512i a) {
    return _mm512_srai_epi32(a, 31);
  }
  static __m512i increased_where(Mask mask, __m512i a) {
    return _mm512_mask_sub_epi32(a, mask, a, _mm512_set1_epi32(-1));
  }
  static __m512i where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_mov_epi32(otherwise, mask, a);
  }
  static __m512i load_where(Mask mask, const int32_t* a, __m512i otherwise) {
    return _mm512_mask_loadu_epi32(otherwise, mask, a);
  }
  static __m512i complement_where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_ternarylogic_epi32(otherwise, mask, a, a, 0x33);
  }
  template <int n>
  static __m512i shifted(__m512i low, __m512i high) {
    return _mm512_alignr_epi32(high, low, n);
  }
  template <class Format>
  static Mask rare(__m512i bits) {
    return _mm512_fpclass_ps_mask(_mm512_castsi512_ps(bits), 0x01 | 0x04 | 0x80);
  }
  static __mmask64 joined(const Mask* masks) {
    return _mm512_kunpackd(_mm512_kunpackw(masks[3], masks[2]),
                           _mm512_kunpackw(masks[1], masks[0]));
  }
};

template <>
struct KeyRegister<int64_t> {
  using Mask = __mmask8;
  static __m512i all(int64_t key) {
    return _mm512_set1_epi64(key);
  }
  static __m512i larger(__m512i a, __m512i b) {
    return _mm512_max_epi64(a, b);
  }
  static Mask greater(__m512i a, __m512i b) {
    return _mm512_cmpgt_epi64_mask(a, b);
  }
  static Mask equal(__m512i a, __m512i b) {
    return _mm512_cmpeq_epi64_mask(a, b);
  }
  static __m512i signs(__m512i a) {
    return _mm512_srai_epi64(a, 63);
  }
  static __m512i increased_where(Mask mask, __m512i a) {
    return _mm512_mask_sub_epi64(a, mask, a, _mm512_set1_epi64(-1));
  }
  static __m512i where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_mov_epi64(otherwise, mask, a);
  }
  static __m512i load_where(Mask mask, const int64_t* a, __m512i otherwise) {
    return _mm512_mask_loadu_epi64(otherwise, mask, a);
  }
  static __m512i complement_where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_ternarylogic_epi64(otherwise, mask, a, a, 0x33);
  }
  template <int n>
  static __m512i shifted(__m512i low, __m512i high) {
    return _mm512_alignr_epi64(high, low, n);
  }
  template <class Format>
  static Mask rare(__m512i bits) {
    return _mm512_fpclass_pd_mask(_mm512_castsi512_pd(bits), 0x01 | 0x04 | 0x80);
  }
  static __mmask64 joined(const Mask* masks) {
    const __mmask32 low =
        _mm512_kunpackw(_mm512_kunpackb(masks[3], masks[2]), _mm512_kunpackb(masks[1], masks[0]));
    const __mmask32 high =
        _mm512_kunpackw(_mm512_kunpackb(masks[7], masks[6]), _mm512_kunpackb(masks[5], masks[4]));
    return _mm512_kunpackd(high, low);
  }
};

template <class Key>
constexpr int kKeysPerRegister = 64 / sizeof(Key);
template <class Key>
constexpr int kRegistersPerBlock = sizeof(Key);

// The part of a block's mask that belongs to one of its registers.
template <class Key>
inline typename KeyRegister<Key>::Mask mask_of_register(__mmask64 mask, int index) {
  return static_cast<typename KeyRegister<Key>::Mask>(mask >> (index * kKeysPerRegister<Key>));
}

// The best candidates so far of 64 places.
template <class Key>
class BestOfBlock {
  using Register = KeyRegister<Key>;

 public:
  BestOfBlock() = default;
  // Of registers, all of the same tap.
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
  // Of two classes' sources, displaced by the same number of taps: `foreground` where `own`.
  template <class Tap>
  BestOfBlock(const CandidateSource<Key, Tap>& background,
              const CandidateSource<Key, Tap>& foreground, __mmask64 own)
      : taps_(_mm512_add_epi8(taps_where(own, background, foreground),
                              _mm512_set1_epi8(static_cast<char>(background.base)))) {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      keys_[r] = keys_where(own, background, foreground, r);
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
  template <class Tap>
  void replace_if_better(const CandidateSource<Key, Tap>& background,
                         const CandidateSource<Key, Tap>& foreground, __mmask64 own) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const __m512i keys = keys_where(own, background, foreground, r);
      better[r] = Register::greater(keys, keys_[r]);
      keys_[r] = Register::larger(keys, keys_[r]);
    }
    taps_ = _mm512_mask_add_epi8(taps_, Register::joined(better),
                                 taps_where(own, background, foreground),
                                 _mm512_set1_epi8(static_cast<char>(background.base)));
  }

  SCNP_ALWAYS_INLINE void replace_if_better(const __m512i* keys, uint8_t tap) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      better[r] = Register::greater(keys[r], keys_[r]);
      keys_[r] = Register::larger(keys[r], keys_[r]);
    }
    taps_ = _mm512_mask_mov_epi8(taps_, Register::joined(better), all_taps(tap));
  }
  // By the best of either class's block, displaced by `displacement` taps: `foreground` where
  // `own`.
  SCNP_ALWAYS_INLINE void replace_if_better(const BestOfBlock& background,
                                            const BestOfBlock& foreground, uint8_t displacement,
                                            __mmask64 own) {
    typename Register::Mask better[kRegistersPerBlock<Key>];
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const __m512i keys =
          Register::where(mask_of_register<Key>(own, r), foreground.keys_[r], background.keys_[r]);
      better[r] = Register::greater(keys, keys_[r]);
      keys_[r] = Register::larger(keys, keys_[r]);
    }
    taps_ = _mm512_mask_add_epi8(taps_, Register::joined(better),
                                 _mm512_mask_mov_epi8(background.taps_, own, foreground.taps_),
                                 all_taps(displacement));
  }

  void store(Key* keys, uint8_t* taps) const {
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      _mm512_storeu_si512(keys + r * kKeysPerRegister<Key>, keys_[r]);
    }
    _mm512_storeu_si512(taps, taps_);
  }
  // The bits of the logits that the keys were made of; where `invalid`, the winner is the centre.
  // streamed: around the cache, to aligned logits.
  void store_logits(__mmask64 own, __mmask64 invalid, uint8_t centre_tap, Key* logits,
                    uint8_t* winners, bool streamed = false) const {
    const __m512i magnitude = Register::all(std::numeric_limits<Key>::max());
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const __m512i bits = flipped(
          Register::complement_where(mask_of_register<Key>(own, r), keys_[r], keys_[r]), magnitude);
      Key* to = logits + r * kKeysPerRegister<Key>;
      if (streamed) {
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bits);
      } else {
        _mm512_storeu_si512(to, bits);
      }
    }
    _mm512_storeu_si512(winners, _mm512_mask_mov_epi8(taps_, invalid, all_taps(centre_tap)));
  }

  static __m512i complement(__m512i a) {
    return _mm512_ternarylogic_epi64(a, a, a, 0x55);
  }
  // a ^ (signs of a & magnitude): see flip_negative.
  static __m512i flipped(__m512i a, __m512i magnitude) {
    return _mm512_ternarylogic_epi64(a, Register::signs(a), magnitude, 0x78);
  }

 private:
  static __m512i all_taps(uint8_t tap) {
    return _mm512_set1_epi8(static_cast<char>(tap));
  }
  static __m512i taps_of(const PixelSource<Key, uint8_t>& source) {
    return all_taps(source.row_tap);
  }
  static __m512i taps_of(const CandidateSource<Key, uint8_t>& source) {
    return _mm512_add_epi8(_mm512_loadu_si512(source.taps), all_taps(source.base));
  }
  template <class Source>
  static __m512i taps_where(__mmask64 own, const Source& background, const Source& foreground) {
    return _mm512_mask_loadu_epi8(_mm512_loadu_si512(background.taps), own, foreground.taps);
  }
  template <class Source>
  static __m512i keys_where(__mmask64 own, const Source& background, const Source& foreground,
                            int r) {
    const int64_t from = r * kKeysPerRegister<Key>;
    return Register::load_where(mask_of_register<Key>(own, r), foreground.key + from,
                                _mm512_loadu_si512(background.key + from));
  }

  __m512i keys_[kRegistersPerBlock<Key>];
  __m512i taps_;
};

inline __mmask64 places_with(const uint8_t* codes, uint8_t code) {
  return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(codes),
                                _mm512_set1_epi8(static_cast<char>(code)));
}

// The keys that one register of logits gives, see make_keys. kRare: whether there may be a NaN or a
// negative zero among them.
struct KeysOfRegister {
  __m512i background;
  __m512i foreground;
};
template <class Format, bool kRare, class Key = typename Format::Bits>
SCNP_ALWAYS_INLINE KeysOfRegister keys_of_register(__m512i bits,
                                                   typename KeyRegister<Key>::Mask own,
                                                   typename KeyRegister<Key>::Mask own_or_invalid) {
  using Register = KeyRegister<Key>;
  const __m512i magnitude = Register::all(std::numeric_limits<Key>::max());
  const __m512i smallest = Register::all(std::numeric_limits<Key>::min());
  const __m512i key = BestOfBlock<Key>::flipped(bits, magnitude);
  if constexpr (!kRare) {
    return {Register::where(own_or_invalid, smallest, key),
            Register::complement_where(own, key, smallest)};
  }
  const auto nan =
      Register::greater(_mm512_and_si512(bits, magnitude), Register::all(Format::kInfinity));
  const __m512i positive_zero = Register::increased_where(Register::equal(bits, smallest), key);
  // The highest key is NaN's, the lowest says "no candidate".
  const __m512i of_background = Register::where(nan, magnitude, positive_zero);
  const __m512i of_foreground =
      Register::where(nan, magnitude, BestOfBlock<Key>::complement(positive_zero));
  return {Register::where(own_or_invalid, smallest, of_background),
          Register::where(own, of_foreground, smallest)};
}

// See make_keys.
template <class Format, class Key = typename Format::Bits>
inline void make_keys_of_block(const Key* logits, const uint8_t* codes, uint8_t own_code,
                               Key* background, Key* foreground) {
  using Register = KeyRegister<Key>;
  constexpr int registers = kRegistersPerBlock<Key>;
  const __mmask64 own = places_with(codes, own_code);
  const __mmask64 own_or_invalid = own | places_with(codes, kInvalidPixel);
  __m512i bits[registers];
  typename Register::Mask rare[registers];
  for (int r = 0; r < registers; ++r) {
    bits[r] = _mm512_loadu_si512(logits + r * kKeysPerRegister<Key>);
    rare[r] = Register::template rare<Format>(bits[r]);
  }
  const auto store = [&](auto may_be_rare) {
    for (int r = 0; r < registers; ++r) {
      const int64_t from = r * kKeysPerRegister<Key>;
      const auto keys = keys_of_register<Format, may_be_rare>(
          bits[r], mask_of_register<Key>(own, r), mask_of_register<Key>(own_or_invalid, r));
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

}  // namespace scnp::cpu::SCNP_CAPABILITY
