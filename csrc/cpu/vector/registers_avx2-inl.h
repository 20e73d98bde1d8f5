// registers-inl.h in AVX2: masks are registers of all ones and zeros, of the width of what they
// choose between.
//
//     masks of 8 keys (float32)     a b c d   packed to half the width twice; packing works on the
//     one of 32 pixels              abcd      halves of registers apart, so a permutation follows
#pragma once

#include "../targets/prologue_registers.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ordered_keys-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

using Register = __m256i;
using PixelMask = __m256i;
constexpr int64_t kPixels = 32;
constexpr bool kHasManyRegisters = false;

inline bool is_any(PixelMask mask) {
  return _mm256_testz_si256(mask, mask) == 0;
}

// Loads elements [begin, end) of a register alone, and 0 elsewhere.
template <class T>
inline Register load_piece(const T* from, int64_t begin, int64_t end) {
  constexpr int64_t count = sizeof(Register) / sizeof(T);
  T elements[count] = {};
  begin = std::clamp<int64_t>(begin, 0, count);
  end = std::clamp<int64_t>(end, begin, count);
  std::memcpy(elements + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(T));
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(elements));
}

// Registers of kPixels bytes.
struct ByteRegister {
  static Register all(uint8_t byte) {
    return _mm256_set1_epi8(static_cast<char>(byte));
  }
  static Register load(const uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void store(uint8_t* to, Register bytes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
  }
  static Register added(Register a, Register b) {
    return _mm256_add_epi8(a, b);
  }
  static PixelMask equal(Register a, Register b) {
    return _mm256_cmpeq_epi8(a, b);
  }
  static PixelMask zero(Register a) {
    return equal(a, _mm256_setzero_si256());
  }
  static Register where(PixelMask mask, Register a, Register otherwise) {
    return _mm256_blendv_epi8(otherwise, a, mask);
  }
  static Register sum_where(PixelMask mask, Register a, Register b, Register otherwise) {
    return where(mask, added(a, b), otherwise);
  }
  // Returns `first`, or 1 or 2 more where the second or the third are the best of three.
  static Register of_three(PixelMask second, PixelMask third, uint8_t first) {
    const Register of_two = _mm256_sub_epi8(all(first), second);
    return _mm256_max_epu8(of_two, _mm256_and_si256(third, all(first + 2)));
  }
  // Returns the bytes from number n on of two registers one behind the other, n < 16.
  template <int n>
  static Register shifted(Register low, Register high) {
    return _mm256_alignr_epi8(_mm256_permute2x128_si256(low, high, 0x21), low, n);
  }
};

// Loads as many bytes as there are keys of so many bytes in a register.
template <int kKeyBytes>
SCNP_ALWAYS_INLINE __m128i few_bytes(const void* from) {
  if constexpr (kKeyBytes == 2) {
    return _mm_loadu_si128(static_cast<const __m128i*>(from));
  } else if constexpr (kKeyBytes == 4) {
    return _mm_loadl_epi64(static_cast<const __m128i*>(from));
  } else {
    int32_t four;
    std::memcpy(&four, from, sizeof(four));
    return _mm_cvtsi32_si128(four);
  }
}

// The operations on registers of keys that do not depend on the keys' width.
template <class Key>
struct AnyKeys {
  using Mask = Register;

  static Register load(const Key* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void store(Key* to, Register keys) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), keys);
  }
  // Stores around the cache, to an aligned address.
  static void stream(Key* to, Register keys) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), keys);
  }
  static Register exclusive_or(Register a, Register b) {
    return _mm256_xor_si256(a, b);
  }
  static Register complement(Register a) {
    return exclusive_or(a, _mm256_set1_epi8(-1));
  }
  // Returns the bits of `a` where those of `ones` are set, elsewhere those of `otherwise`.
  static Register selected(Register ones, Register a, Register otherwise) {
    return _mm256_blendv_epi8(otherwise, a, ones);
  }
  static Register where(Mask mask, Register a, Register otherwise) {
    return selected(mask, a, otherwise);
  }
  static Register load_where(Mask mask, const Key* from, Register otherwise) {
    return where(mask, load(from), otherwise);
  }
  static Register ones_where(Mask mask) {
    return mask;
  }
  // Returns the keys from number n on of two registers one behind the other.
  template <int n>
  static Register shifted(Register low, Register high) {
    constexpr int bytes = n * static_cast<int>(sizeof(Key));
    const Register middle = _mm256_permute2x128_si256(low, high, 0x21);
    if constexpr (bytes < 16) {
      return _mm256_alignr_epi8(middle, low, bytes);
    } else {
      return _mm256_alignr_epi8(high, middle, bytes - 16);
    }
  }
};

// The operations that differ between the widths only in the suffix of their instructions.
template <class Key>
struct KeyInstructions;
#define SCNP_KEY_INSTRUCTIONS(bits, suffix)                                  \
  template <>                                                                \
  struct KeyInstructions<int##bits##_t> : AnyKeys<int##bits##_t> {           \
    using Key = int##bits##_t;                                               \
    static Register all(Key key) {                                           \
      return _mm256_set1_epi##suffix(key);                                   \
    }                                                                        \
    static Mask greater(Register a, Register b) {                            \
      return _mm256_cmpgt_epi##bits(a, b);                                   \
    }                                                                        \
    static Mask equal(Register a, Register b) {                              \
      return _mm256_cmpeq_epi##bits(a, b);                                   \
    }                                                                        \
    static Register flipped(Register a) {                                    \
      const Register negative = greater(_mm256_setzero_si256(), a);          \
      return exclusive_or(a, _mm256_and_si256(negative, all(kNanKey<Key>))); \
    }                                                                        \
    static Mask nan(Register a, Infinity<Key> infinity) {                    \
      return greater(_mm256_and_si256(a, all(kNanKey<Key>)), all(infinity)); \
    }                                                                        \
    static Register of_bytes(const uint8_t* bytes) {                         \
      return _mm256_cvtepu8_epi##bits(few_bytes<sizeof(Key)>(bytes));        \
    }                                                                        \
    static Mask of_pixels(__m128i mask) {                                    \
      return _mm256_cvtepi8_epi##bits(mask);                                 \
    }                                                                        \
  };
SCNP_KEY_INSTRUCTIONS(16, 16)
SCNP_KEY_INSTRUCTIONS(32, 32)
SCNP_KEY_INSTRUCTIONS(64, 64x)
#undef SCNP_KEY_INSTRUCTIONS

template <class Key>
struct KeyRegister;

template <>
struct KeyRegister<int16_t> : KeyInstructions<int16_t> {
  static Register larger(Register a, Register b) {
    return _mm256_max_epi16(a, b);
  }
  // Return the key or its complement, and "no candidate" where the mask is set or is not set: the
  // smaller of two takes fewer instructions than choosing.
  static Register unless(Mask mask, Register a) {
    return _mm256_min_epi16(a, exclusive_or(mask, all(kNanKey<Key>)));
  }
  static Register complement_only(Mask mask, Register a) {
    return _mm256_min_epi16(complement(a), exclusive_or(mask, all(kNoCandidate<Key>)));
  }
  static Register load_between(const int16_t* from, int64_t begin, int64_t end) {
    return begin <= 0 && end >= 16 ? load(from) : load_piece(from, begin, end);
  }
  static PixelMask joined(const Mask* masks) {
    return _mm256_permute4x64_epi64(_mm256_packs_epi16(masks[0], masks[1]), 0xd8);
  }
  // Whether there is a NaN or a negative zero among the logits of kPixels pixels.
  static bool has_rare(const Register* bits, Infinity<int16_t> infinity) {
    const Register smallest = _mm256_min_epi16(bits[0], bits[1]);
    const Mask rare = _mm256_or_si256(nan(bits[0], infinity), nan(bits[1], infinity));
    return is_any(_mm256_or_si256(rare, equal(smallest, all(kNoCandidate<int16_t>))));
  }
};

template <>
struct KeyRegister<int32_t> : KeyInstructions<int32_t> {
  static __m256 nan_in(Register a, Register b) {
    return _mm256_cmp_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _CMP_UNORD_Q);
  }
  static Register larger(Register a, Register b) {
    return _mm256_max_epi32(a, b);
  }
  // Return the key or its complement, and "no candidate" where the mask is set or is not set: the
  // smaller of two takes fewer instructions than choosing.
  static Register unless(Mask mask, Register a) {
    return _mm256_min_epi32(a, exclusive_or(mask, all(kNanKey<Key>)));
  }
  static Register complement_only(Mask mask, Register a) {
    return _mm256_min_epi32(complement(a), exclusive_or(mask, all(kNoCandidate<Key>)));
  }
  static Register load_between(const int32_t* from, int64_t begin, int64_t end) {
    return _mm256_maskload_epi32(from, _mm256_andnot_si256(first(begin), first(end)));
  }
  // The first of a register's keys, any number of them.
  static Mask first(int64_t count) {
    return greater(all(static_cast<int32_t>(std::clamp<int64_t>(count, 0, 8))),
                   _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static PixelMask joined(const Mask* masks) {
    const Register packed = _mm256_packs_epi16(_mm256_packs_epi32(masks[0], masks[1]),
                                               _mm256_packs_epi32(masks[2], masks[3]));
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static bool has_rare(const Register* bits, Infinity<int32_t> /*infinity*/) {
    const __m256 nan = _mm256_or_ps(nan_in(bits[0], bits[1]), nan_in(bits[2], bits[3]));
    const Register smallest =
        _mm256_min_epi32(_mm256_min_epi32(bits[0], bits[1]), _mm256_min_epi32(bits[2], bits[3]));
    const Mask negative_zero = equal(smallest, all(kNoCandidate<int32_t>));
    return is_any(_mm256_or_si256(_mm256_castps_si256(nan), negative_zero));
  }
};

template <>
struct KeyRegister<int64_t> : KeyInstructions<int64_t> {
  static Register larger(Register a, Register b) {
    return where(greater(a, b), a, b);
  }
  static Register unless(Mask mask, Register a) {
    return where(mask, all(kNoCandidate<Key>), a);
  }
  static Register complement_only(Mask mask, Register a) {
    return where(mask, complement(a), all(kNoCandidate<Key>));
  }
  static Register load_between(const int64_t* from, int64_t begin, int64_t end) {
    const Register lane = _mm256_setr_epi64x(0, 1, 2, 3);
    const Mask inside = _mm256_andnot_si256(greater(all(begin), lane), greater(all(end), lane));
    return _mm256_maskload_epi64(reinterpret_cast<const long long*>(from), inside);
  }
  static PixelMask joined(const Mask* masks) {
    Register pairs[4];
    for (int i = 0; i < 4; ++i) {
      pairs[i] = _mm256_packs_epi32(masks[2 * i], masks[2 * i + 1]);
    }
    const Register packed = _mm256_packs_epi16(_mm256_packs_epi16(pairs[0], pairs[1]),
                                               _mm256_packs_epi16(pairs[2], pairs[3]));
    // Two pixels of every register are in the low half, and two in the high half.
    const __m256i order = _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0,
                                           1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    return _mm256_shuffle_epi8(_mm256_permute4x64_epi64(packed, 0xd8), order);
  }
  static bool has_rare(const Register* bits, Infinity<int64_t> /*infinity*/) {
    Register rare = _mm256_setzero_si256();
    for (int r = 0; r < 8; ++r) {
      const __m256d number = _mm256_castsi256_pd(bits[r]);
      const __m256d nan = _mm256_cmp_pd(number, number, _CMP_UNORD_Q);
      rare = _mm256_or_si256(rare, _mm256_or_si256(_mm256_castpd_si256(nan),
                                                   equal(bits[r], all(kNoCandidate<int64_t>))));
    }
    return is_any(rare);
  }
};

// Splits a mask into those of the registers of keys. It is stored and read again piece by piece,
// since moving bytes between the halves of registers takes longer.
template <class Key>
SCNP_ALWAYS_INLINE void masks_of_registers(PixelMask mask, Register (&masks)[sizeof(Key)]) {
  alignas(32) char bytes[kPixels];
  _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), mask);
  __asm__("" : "+m"(bytes));  // else compilers move them between registers after all
  for (int r = 0; r < static_cast<int>(sizeof(Key)); ++r) {
    const char* piece = bytes + r * (kPixels / static_cast<int>(sizeof(Key)));
    masks[r] = KeyRegister<Key>::of_pixels(few_bytes<sizeof(Key)>(piece));
  }
}

// Registers of numbers that are added up, as many as of keys of 32 bits.
struct FloatRegister {
  using Floats = __m256;
  using Mask = KeyRegister<int32_t>::Mask;

  static Floats zero() {
    return _mm256_setzero_ps();
  }
  static Floats add(Floats a, Floats b) {
    return _mm256_add_ps(a, b);
  }
  // Loads numbers where the mask is set, and 0 elsewhere, where nothing is read.
  static Floats load_where(Mask mask, const float* from) {
    return _mm256_maskload_ps(from, mask);
  }
  // As above, where all of them may be read.
  static Floats keep_where(Mask mask, const float* from) {
    return _mm256_and_ps(_mm256_loadu_ps(from), _mm256_castsi256_ps(mask));
  }
  static void store(float* to, Floats numbers) {
    _mm256_storeu_ps(to, numbers);
  }
  static void store_first(int64_t count, float* to, Floats numbers) {
    _mm256_maskstore_ps(to, KeyRegister<int32_t>::first(count), numbers);
  }
  // Stores around the cache, to an aligned address.
  static void stream(float* to, Floats numbers) {
    _mm256_stream_ps(to, numbers);
  }
};

// The codes of kPixels pixels. They are read as wide as keys, register by register.
template <class Key>
class BlockCodes {
  using Keys = KeyRegister<Key>;

 public:
  explicit BlockCodes(const uint8_t* codes) : codes_(codes) {
  }
  // Returns where in the r-th register of keys the code is the given one, or one of two.
  SCNP_ALWAYS_INLINE Register are(int r, uint8_t code) const {
    return Keys::equal(wide(r), Keys::all(code));
  }
  SCNP_ALWAYS_INLINE Register are(int r, uint8_t code, uint8_t other) const {
    return _mm256_or_si256(are(r, code), are(r, other));
  }

 private:
  SCNP_ALWAYS_INLINE Register wide(int r) const {
    return Keys::of_bytes(codes_ + r * (kPixels / static_cast<int>(sizeof(Key))));
  }

  const uint8_t* codes_;
};

// Whether there is a NaN or a negative zero among the logits of a register, or of kPixels pixels.
template <class Key>
SCNP_ALWAYS_INLINE bool has_rare(Register bits, Infinity<Key> infinity) {
  using Keys = KeyRegister<Key>;
  return is_any(
      _mm256_or_si256(Keys::nan(bits, infinity), Keys::equal(bits, Keys::all(kNoCandidate<Key>))));
}
template <class Key>
SCNP_ALWAYS_INLINE bool has_rare(const Register (&bits)[sizeof(Key)], Infinity<Key> infinity) {
  return KeyRegister<Key>::has_rare(bits, infinity);
}

// Loads logits [begin, end) of kPixels alone, and 0 elsewhere.
template <class Key>
SCNP_ALWAYS_INLINE void load_block_between(const Key* from, int64_t begin, int64_t end,
                                           Register (&bits)[sizeof(Key)]) {
  constexpr int keys = static_cast<int>(kPixels / sizeof(Key));
  for (int r = 0; r < static_cast<int>(sizeof(Key)); ++r) {
    const int64_t i = r * keys;
    bits[r] = KeyRegister<Key>::load_between(from + i, begin - i, end - i);
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
