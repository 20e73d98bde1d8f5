// registers-inl.h in AVX-512: masks are registers of their own, of one bit per pixel or key.
//
//     64 keys   4 registers of 16 (float32)   a > b  4 masks of 16  ->  1 mask of 64
//               2 registers of 32 (half types)      2 masks of 32
//               8 registers of 8 (float64)          8 masks of 8
#pragma once

#include "../targets/prologue_registers.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "ordered_keys-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

using Register = __m512i;
using PixelMask = __mmask64;
constexpr int64_t kPixels = 64;
constexpr bool kHasManyRegisters = true;

// The first of kPixels pixels, any number of them.
inline PixelMask first_pixels(int64_t count) {
  return _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(std::clamp<int64_t>(count, 0, kPixels)));
}
inline bool is_any(PixelMask mask) {
  return mask != 0;
}

// Registers of kPixels bytes.
struct ByteRegister {
  static Register all(uint8_t byte) {
    return _mm512_set1_epi8(static_cast<char>(byte));
  }
  static Register load(const uint8_t* from) {
    return _mm512_loadu_si512(from);
  }
  static void store(uint8_t* to, Register bytes) {
    _mm512_storeu_si512(to, bytes);
  }
  static Register added(Register a, Register b) {
    return _mm512_add_epi8(a, b);
  }
  static PixelMask equal(Register a, Register b) {
    return _mm512_cmpeq_epi8_mask(a, b);
  }
  static PixelMask zero(Register a) {
    return _mm512_testn_epi8_mask(a, a);
  }
  static Register where(PixelMask mask, Register a, Register otherwise) {
    return _mm512_mask_mov_epi8(otherwise, mask, a);
  }
  static Register sum_where(PixelMask mask, Register a, Register b, Register otherwise) {
    return _mm512_mask_add_epi8(otherwise, mask, a, b);
  }
  // Returns `first`, or 1 or 2 more where the second or the third are the best of three.
  static Register of_three(PixelMask second, PixelMask third, uint8_t first) {
    return where(third, all(first + 2), where(second, all(first + 1), all(first)));
  }
  // Returns the bytes from number n on of two registers one behind the other, n < 16.
  template <int n>
  static Register shifted(Register low, Register high) {
    // Shifts every sixteen bytes together with the sixteen behind them.
    return _mm512_alignr_epi8(_mm512_alignr_epi64(high, low, 2), low, n);
  }
};

// The operations on registers of keys that do not depend on the keys' width.
template <class Key>
struct AnyKeys {
  static Register load(const Key* from) {
    return _mm512_loadu_si512(from);
  }
  static void store(Key* to, Register keys) {
    _mm512_storeu_si512(to, keys);
  }
  // Stores around the cache, to an aligned address.
  static void stream(Key* to, Register keys) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), keys);
  }
  static Register exclusive_or(Register a, Register b) {
    return _mm512_xor_si512(a, b);
  }
  static Register complement(Register a) {
    return _mm512_ternarylogic_epi64(a, a, a, 0x55);
  }
  // Returns the bits of `a` where those of `ones` are set, elsewhere those of `otherwise`.
  static Register selected(Register ones, Register a, Register otherwise) {
    return _mm512_ternarylogic_epi64(ones, a, otherwise, 0xca);
  }
};

// The operations that differ between the widths only in the suffix of their instructions.
template <class Key>
struct KeyInstructions;
#define SCNP_KEY_INSTRUCTIONS(bits, lanes)                                       \
  template <>                                                                    \
  struct KeyInstructions<int##bits##_t> : AnyKeys<int##bits##_t> {               \
    using Key = int##bits##_t;                                                   \
    using Mask = __mmask##lanes;                                                 \
    static Register all(Key key) {                                               \
      return _mm512_set1_epi##bits(key);                                         \
    }                                                                            \
    static Register larger(Register a, Register b) {                             \
      return _mm512_max_epi##bits(a, b);                                         \
    }                                                                            \
    static Mask greater(Register a, Register b) {                                \
      return _mm512_cmpgt_epi##bits##_mask(a, b);                                \
    }                                                                            \
    static Mask equal(Register a, Register b) {                                  \
      return _mm512_cmpeq_epi##bits##_mask(a, b);                                \
    }                                                                            \
    static Register signs(Register a) {                                          \
      return _mm512_srai_epi##bits(a, bits - 1);                                 \
    }                                                                            \
    static Register unless(Mask mask, Register a) {                              \
      return where(mask, all(kNoCandidate<Key>), a);                             \
    }                                                                            \
    static Register where(Mask mask, Register a, Register otherwise) {           \
      return _mm512_mask_mov_epi##bits(otherwise, mask, a);                      \
    }                                                                            \
    static Register load_between(const Key* from, int64_t begin, int64_t end) {  \
      return _mm512_maskz_loadu_epi##bits(                                       \
          static_cast<Mask>(first_pixels(end) & ~first_pixels(begin)), from);    \
    }                                                                            \
    static Register load_where(Mask mask, const Key* from, Register otherwise) { \
      return _mm512_mask_loadu_epi##bits(otherwise, mask, from);                 \
    }                                                                            \
    static void store_where(Mask mask, Key* to, Register keys) {                 \
      _mm512_mask_storeu_epi##bits(to, mask, keys);                              \
    }                                                                            \
    static Register ones_where(Mask mask) {                                      \
      return _mm512_movm_epi##bits(mask);                                        \
    }                                                                            \
    static Register flipped(Register a) {                                        \
      return _mm512_ternarylogic_epi64(a, signs(a), all(kNanKey<Key>), 0x78);    \
    }                                                                            \
    static Mask nan(Register a, Infinity<Key> infinity) {                        \
      return greater(_mm512_and_si512(a, all(kNanKey<Key>)), all(infinity));     \
    }                                                                            \
  };
SCNP_KEY_INSTRUCTIONS(16, 32)
SCNP_KEY_INSTRUCTIONS(32, 16)
SCNP_KEY_INSTRUCTIONS(64, 8)
#undef SCNP_KEY_INSTRUCTIONS

template <class Key>
struct KeyRegister;

template <>
struct KeyRegister<int16_t> : KeyInstructions<int16_t> {
  static Register complement_only(Mask mask, Register a) {
    const Register otherwise = all(kNoCandidate<Key>);
    return where(mask, _mm512_ternarylogic_epi64(a, a, a, 0x55), otherwise);
  }
  // Returns the lanes from number n on of two registers one behind the other.
  template <int n>
  static Register shifted(Register low, Register high) {
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
  static Mask rare(Register bits, Infinity<int16_t> infinity) {
    return greater(_mm512_and_si512(bits, all(0x7fff)), all(infinity)) | equal(bits, all(-0x8000));
  }
  static __mmask64 joined(const Mask* masks) {
    return _mm512_kunpackd(masks[1], masks[0]);
  }
};

template <>
struct KeyRegister<int32_t> : KeyInstructions<int32_t> {
  static Register complement_only(Mask mask, Register a) {
    const Register otherwise = all(kNoCandidate<Key>);
    return _mm512_mask_ternarylogic_epi32(otherwise, mask, a, a, 0x33);
  }
  template <int n>
  static Register shifted(Register low, Register high) {
    return _mm512_alignr_epi32(high, low, n);
  }
  static Mask rare(Register bits, Infinity<int32_t> /*infinity*/) {
    return _mm512_fpclass_ps_mask(_mm512_castsi512_ps(bits), 0x01 | 0x04 | 0x80);
  }
  static __mmask64 joined(const Mask* masks) {
    return _mm512_kunpackd(_mm512_kunpackw(masks[3], masks[2]),
                           _mm512_kunpackw(masks[1], masks[0]));
  }
};

template <>
struct KeyRegister<int64_t> : KeyInstructions<int64_t> {
  static Register complement_only(Mask mask, Register a) {
    const Register otherwise = all(kNoCandidate<Key>);
    return _mm512_mask_ternarylogic_epi64(otherwise, mask, a, a, 0x33);
  }
  template <int n>
  static Register shifted(Register low, Register high) {
    return _mm512_alignr_epi64(high, low, n);
  }
  static Mask rare(Register bits, Infinity<int64_t> /*infinity*/) {
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

// Splits a mask into those of the registers of keys.
template <class Key>
SCNP_ALWAYS_INLINE void masks_of_registers(PixelMask mask,
                                           typename KeyRegister<Key>::Mask (&masks)[sizeof(Key)]) {
  constexpr int keys = static_cast<int>(kPixels / sizeof(Key));
  for (int r = 0; r < static_cast<int>(sizeof(Key)); ++r) {
    masks[r] = static_cast<typename KeyRegister<Key>::Mask>(mask >> (r * keys));
  }
}

// Registers of numbers that are added up, as many as of keys of 32 bits.
struct FloatRegister {
  using Floats = __m512;
  using Mask = KeyRegister<int32_t>::Mask;

  static Floats zero() {
    return _mm512_setzero_ps();
  }
  static Floats add(Floats a, Floats b) {
    return _mm512_add_ps(a, b);
  }
  // Loads numbers where the mask is set, and 0 elsewhere, where nothing is read.
  static Floats load_where(Mask mask, const float* from) {
    return _mm512_maskz_loadu_ps(mask, from);
  }
  // As above, where all of them may be read.
  static Floats keep_where(Mask mask, const float* from) {
    return load_where(mask, from);
  }
  static void store(float* to, Floats numbers) {
    _mm512_storeu_ps(to, numbers);
  }
  static void store_first(int64_t count, float* to, Floats numbers) {
    _mm512_mask_storeu_ps(to, static_cast<Mask>(first_pixels(count)), numbers);
  }
  // Stores around the cache, to an aligned address.
  static void stream(float* to, Floats numbers) {
    _mm512_stream_ps(to, numbers);
  }
};

// The codes of kPixels pixels.
template <class Key>
class BlockCodes {
  using Mask = typename KeyRegister<Key>::Mask;

 public:
  explicit BlockCodes(const uint8_t* codes) : codes_(ByteRegister::load(codes)) {
  }
  // Returns where in the r-th register of keys the code is the given one, or one of two.
  SCNP_ALWAYS_INLINE Mask are(int r, uint8_t code) const {
    return part(r, ByteRegister::equal(codes_, ByteRegister::all(code)));
  }
  SCNP_ALWAYS_INLINE Mask are(int r, uint8_t code, uint8_t other) const {
    return part(r, ByteRegister::equal(codes_, ByteRegister::all(code)) |
                       ByteRegister::equal(codes_, ByteRegister::all(other)));
  }

 private:
  static Mask part(int r, PixelMask mask) {
    return static_cast<Mask>(mask >> (r * (kPixels / static_cast<int>(sizeof(Key)))));
  }

  Register codes_;
};

// Whether there is a NaN or a negative zero among the logits of a register, or of kPixels pixels.
template <class Key>
SCNP_ALWAYS_INLINE bool has_rare(Register bits, Infinity<Key> infinity) {
  return is_any(KeyRegister<Key>::rare(bits, infinity));
}
template <class Key>
SCNP_ALWAYS_INLINE bool has_rare(const Register (&bits)[sizeof(Key)], Infinity<Key> infinity) {
  typename KeyRegister<Key>::Mask rare[sizeof(Key)];
  for (int r = 0; r < static_cast<int>(sizeof(Key)); ++r) {
    rare[r] = KeyRegister<Key>::rare(bits[r], infinity);
  }
  return is_any(KeyRegister<Key>::joined(rare));
}

// Loads logits [begin, end) of kPixels alone, and 0 elsewhere.
template <class Key>
SCNP_ALWAYS_INLINE void load_block_between(const Key* from, int64_t begin, int64_t end,
                                           Register (&bits)[sizeof(Key)]) {
  typename KeyRegister<Key>::Mask inside[sizeof(Key)];
  masks_of_registers<Key>(first_pixels(end) & ~first_pixels(begin), inside);
  for (int r = 0; r < static_cast<int>(sizeof(Key)); ++r) {
    bits[r] = KeyRegister<Key>::load_where(
        inside[r], from + r * (kPixels / static_cast<int>(sizeof(Key))), KeyRegister<Key>::all(0));
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
