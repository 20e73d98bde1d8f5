// Operations on AVX-512 registers of keys, for keys of each width.
//
//     64 keys   4 registers of 16 (float32)    >    4 masks of 16  ->  1 mask of 64
//               2 registers of 32 (half types)      2 masks of 32
//               8 registers of 8 (float64)          8 masks of 8
#pragma once

#include "../targets/prologue_avx512.h"

#include <array>
#include <cstdint>

#include "ordered_keys-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// The operations that differ between the widths only in the suffix of their instructions.
template <class Key>
struct KeyInstructions;
#define SCNP_KEY_INSTRUCTIONS(bits, lanes)                                     \
  template <>                                                                  \
  struct KeyInstructions<int##bits##_t> {                                      \
    using Key = int##bits##_t;                                                 \
    using Mask = __mmask##lanes;                                               \
    static __m512i all(Key key) {                                              \
      return _mm512_set1_epi##bits(key);                                       \
    }                                                                          \
    static __m512i larger(__m512i a, __m512i b) {                              \
      return _mm512_max_epi##bits(a, b);                                       \
    }                                                                          \
    static Mask greater(__m512i a, __m512i b) {                                \
      return _mm512_cmpgt_epi##bits##_mask(a, b);                              \
    }                                                                          \
    static Mask equal(__m512i a, __m512i b) {                                  \
      return _mm512_cmpeq_epi##bits##_mask(a, b);                              \
    }                                                                          \
    static __m512i signs(__m512i a) {                                          \
      return _mm512_srai_epi##bits(a, bits - 1);                               \
    }                                                                          \
    static __m512i increased_where(Mask mask, __m512i a) {                     \
      return _mm512_mask_sub_epi##bits(a, mask, a, _mm512_set1_epi##bits(-1)); \
    }                                                                          \
    static __m512i where(Mask mask, __m512i a, __m512i otherwise) {            \
      return _mm512_mask_mov_epi##bits(otherwise, mask, a);                    \
    }                                                                          \
    static __m512i load_where(Mask mask, const Key* a, __m512i otherwise) {    \
      return _mm512_mask_loadu_epi##bits(otherwise, mask, a);                  \
    }                                                                          \
    static void store_where(Mask mask, Key* a, __m512i keys) {                 \
      _mm512_mask_storeu_epi##bits(a, mask, keys);                             \
    }                                                                          \
    static __m512i ones_where(Mask mask) {                                     \
      return _mm512_movm_epi##bits(mask);                                      \
    }                                                                          \
  };
SCNP_KEY_INSTRUCTIONS(16, 32)
SCNP_KEY_INSTRUCTIONS(32, 16)
SCNP_KEY_INSTRUCTIONS(64, 8)
#undef SCNP_KEY_INSTRUCTIONS

template <class Key>
struct KeyRegister;

template <>
struct KeyRegister<int16_t> : KeyInstructions<int16_t> {
  static __m512i complement_where(Mask mask, __m512i a, __m512i otherwise) {
    return where(mask, _mm512_ternarylogic_epi64(a, a, a, 0x55), otherwise);
  }
  // Returns the lanes from number n on of two registers one behind the other.
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
  // Returns where there is a NaN or a negative zero.
  static Mask rare(__m512i bits, Infinity<int16_t> infinity) {
    return greater(_mm512_and_si512(bits, all(0x7fff)), all(infinity)) | equal(bits, all(-0x8000));
  }
  static __mmask64 joined(const Mask* masks) {
    return _mm512_kunpackd(masks[1], masks[0]);
  }
};

template <>
struct KeyRegister<int32_t> : KeyInstructions<int32_t> {
  static __m512i complement_where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_ternarylogic_epi32(otherwise, mask, a, a, 0x33);
  }
  template <int n>
  static __m512i shifted(__m512i low, __m512i high) {
    return _mm512_alignr_epi32(high, low, n);
  }
  static Mask rare(__m512i bits, Infinity<int32_t> /*infinity*/) {
    return _mm512_fpclass_ps_mask(_mm512_castsi512_ps(bits), 0x01 | 0x04 | 0x80);
  }
  static __mmask64 joined(const Mask* masks) {
    return _mm512_kunpackd(_mm512_kunpackw(masks[3], masks[2]),
                           _mm512_kunpackw(masks[1], masks[0]));
  }
};

template <>
struct KeyRegister<int64_t> : KeyInstructions<int64_t> {
  static __m512i complement_where(Mask mask, __m512i a, __m512i otherwise) {
    return _mm512_mask_ternarylogic_epi64(otherwise, mask, a, a, 0x33);
  }
  template <int n>
  static __m512i shifted(__m512i low, __m512i high) {
    return _mm512_alignr_epi64(high, low, n);
  }
  static Mask rare(__m512i bits, Infinity<int64_t> /*infinity*/) {
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

// Returns the part of a block's mask that belongs to one of its registers.
template <class Key>
inline typename KeyRegister<Key>::Mask mask_of_register(__mmask64 mask, int index) {
  return static_cast<typename KeyRegister<Key>::Mask>(mask >> (index * kKeysPerRegister<Key>));
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
