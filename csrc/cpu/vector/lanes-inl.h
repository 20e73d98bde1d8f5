// Pixels side by side, held in registers from one operation to the next.
//
// Plain loops over arrays write every intermediate result to memory and read it again; where a
// pixel needs some forty operations per class, that costs more than the operations. Lanes are the
// compilers' own vector types, as wide as the machine's registers. Sixteen pixels are a group,
// whatever the registers' width, and the i-th pixels of all groups are added up apart from the
// others: so every instruction set computes the same bits.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Pixels per group.
constexpr int64_t kGroup = 16;
// Pixels side by side, of a group: one register of floats, two of doubles.
constexpr int64_t kLanes = SCNP_VECTOR_BYTES / static_cast<int64_t>(sizeof(float));

#if defined(__GNUC__)
template <class T>
struct VectorRegister {
  typedef T Type __attribute__((vector_size(SCNP_VECTOR_BYTES)));
};
#else
// Compilers without vector types take the pixels one by one.
template <class T>
struct VectorRegister {
  using Type = T;
};
#endif

// The signed integer of a number's width. Comparisons give it, all ones or zero.
template <class Real>
using MaskOf = std::conditional_t<sizeof(Real) == 4, int32_t, int64_t>;

template <class T>
struct Lanes {
  using Vector = typename VectorRegister<T>::Type;
  using Mask = Lanes<MaskOf<T>>;
  static constexpr int kParts = static_cast<int>(kLanes * sizeof(T) / sizeof(Vector));

  Vector part[kParts];

  // Loads the bits of [kLanes] numbers, of any type of this width, from anywhere in memory.
  static SCNP_ALWAYS_INLINE Lanes load(const void* from) {
    return each<T>([&](auto p) {
      Vector vector;
      std::memcpy(&vector, static_cast<const char*>(from) + p * sizeof(Vector), sizeof(Vector));
      return vector;
    });
  }
  SCNP_ALWAYS_INLINE void store(T* to) const {
    each<T>([&](auto p) {
      std::memcpy(reinterpret_cast<char*>(to) + p * sizeof(Vector), &part[p], sizeof(Vector));
      return part[p];
    });
  }
  static SCNP_ALWAYS_INLINE Lanes all(T value) {
    return each<T>([&](auto /*p*/) { return Vector{} + value; });
  }
  // Calls f for one vector after the other with its index as a constant: an array that is indexed
  // by anything else does not stay in registers.
  template <class Result, class F>
  static SCNP_ALWAYS_INLINE Lanes<Result> each(const F& f) {
    return [&]<int... p>(std::integer_sequence<int, p...> /*parts*/) {
      return Lanes<Result>{{f(std::integral_constant<int, p>{})...}};
    }(std::make_integer_sequence<int, kParts>{});
  }

  friend SCNP_ALWAYS_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
    return each<T>([&](auto p) { return a.part[p] + b.part[p]; });
  }
  friend SCNP_ALWAYS_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
    return each<T>([&](auto p) { return a.part[p] - b.part[p]; });
  }
  friend SCNP_ALWAYS_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
    return each<T>([&](auto p) { return a.part[p] * b.part[p]; });
  }
  friend SCNP_ALWAYS_INLINE Lanes operator/(const Lanes& a, const Lanes& b) {
    return each<T>([&](auto p) { return a.part[p] / b.part[p]; });
  }
  friend SCNP_ALWAYS_INLINE Mask operator<(const Lanes& a, const Lanes& b) {
    return each<MaskOf<T>>([&](auto p) { return typename Mask::Vector(a.part[p] < b.part[p]); });
  }
  friend SCNP_ALWAYS_INLINE Mask operator==(const Lanes& a, const Lanes& b) {
    return each<MaskOf<T>>([&](auto p) { return typename Mask::Vector(a.part[p] == b.part[p]); });
  }
  friend SCNP_ALWAYS_INLINE Mask operator!=(const Lanes& a, const Lanes& b) {
    return each<MaskOf<T>>([&](auto p) { return typename Mask::Vector(a.part[p] != b.part[p]); });
  }
};

// Returns `a` where the mask is all ones, `b` where it is zero.
template <class T>
SCNP_ALWAYS_INLINE Lanes<T> select(const typename Lanes<T>::Mask& mask, const Lanes<T>& a,
                                   const Lanes<T>& b) {
  return Lanes<T>::template each<T>([&](auto p) { return mask.part[p] ? a.part[p] : b.part[p]; });
}
// Returns `value` where the mask is all ones, else 0; so an infinite value can be dropped.
template <class T>
SCNP_ALWAYS_INLINE Lanes<T> keep_where(const typename Lanes<T>::Mask& mask, const Lanes<T>& value) {
  return select(mask, value, Lanes<T>::all(0));
}

// Returns sum + value where the mask is all ones, else `sum`, which is not -0. AVX-512 adds under a
// mask; elsewhere adding 0 takes fewer instructions than choosing.
template <class T>
SCNP_ALWAYS_INLINE Lanes<T> add_where(const typename Lanes<T>::Mask& mask, const Lanes<T>& sum,
                                      const Lanes<T>& value) {
#if SCNP_AVX512
  return select(mask, sum + value, sum);
#else
  return sum + keep_where(mask, value);
#endif
}

// Return `a` where it is larger (smaller) than `b`, else `b`, also where either is NaN: one
// instruction on x86-64, which compilers make of a comparison only if there were no NaN.
#if SCNP_AVX512
#define SCNP_MOST_OF_PART(most, a, b) _mm512_##most(a, b)
#elif SCNP_AVX2
#define SCNP_MOST_OF_PART(most, a, b) _mm256_##most(a, b)
#elif SCNP_X86 && defined(__GNUC__)
#define SCNP_MOST_OF_PART(most, a, b) _mm_##most(a, b)
#endif
#if defined(SCNP_MOST_OF_PART)
SCNP_ALWAYS_INLINE Lanes<float> larger(const Lanes<float>& a, const Lanes<float>& b) {
  return Lanes<float>::each<float>(
      [&](auto p) { return SCNP_MOST_OF_PART(max_ps, a.part[p], b.part[p]); });
}
SCNP_ALWAYS_INLINE Lanes<float> smaller(const Lanes<float>& a, const Lanes<float>& b) {
  return Lanes<float>::each<float>(
      [&](auto p) { return SCNP_MOST_OF_PART(min_ps, a.part[p], b.part[p]); });
}
#undef SCNP_MOST_OF_PART
#endif
template <class T>
SCNP_ALWAYS_INLINE Lanes<T> larger(const Lanes<T>& a, const Lanes<T>& b) {
  return select(b < a, a, b);
}
template <class T>
SCNP_ALWAYS_INLINE Lanes<T> smaller(const Lanes<T>& a, const Lanes<T>& b) {
  return select(a < b, a, b);
}

// Returns the same bits as another type of the same width.
template <class To, class From>
SCNP_ALWAYS_INLINE Lanes<To> bits_as(const Lanes<From>& lanes) {
  static_assert(sizeof(To) == sizeof(From));
  return Lanes<To>::load(&lanes);
}

SCNP_ALWAYS_INLINE Lanes<float> to_float(const Lanes<int32_t>& lanes) {
  return Lanes<float>::each<float>([&](auto p) {
#if defined(__GNUC__)
    return __builtin_convertvector(lanes.part[p], Lanes<float>::Vector);
#else
    return static_cast<float>(lanes.part[p]);
#endif
  });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
