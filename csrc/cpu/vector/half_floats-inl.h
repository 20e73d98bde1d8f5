// Conversions of half types to float32 and back by operations on bits, so that loops over them
// vectorise on any instruction set. They round to nearest, ties to even, as torch does; NaN stays
// NaN. And for logits of every type: what adds them up (Accumulator), what orders them (KeyOf).
#pragma once

#include "../targets/prologue.h"

#include <bit>
#include <cstdint>
#include <type_traits>

#include "../../contract/geometry.h"
#include "../memory/strided-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

inline float float_of_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline uint32_t bits_of_float(float value) {
  return std::bit_cast<uint32_t>(value);
}

// The half types as they lie in memory.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

SCNP_ALWAYS_INLINE float widen(BFloat16 value) {
  return float_of_bits(static_cast<uint32_t>(value.bits) << 16);
}
SCNP_ALWAYS_INLINE float widen(Float16 value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fff) << 13;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  // Moving the exponent by a multiplication also normalises numbers that are denormal in 16 bits.
  const uint32_t finite = bits_of_float(float_of_bits(magnitude) * float_of_bits(0x77800000));
  const uint32_t special = magnitude | 0x7f800000;
  return float_of_bits((magnitude >= 0x0f800000 ? special : finite) | sign);
}

SCNP_ALWAYS_INLINE void narrow(float value, BFloat16& result) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  result.bits = static_cast<uint16_t>(is_nan ? 0x7fc0 : rounded);
}
SCNP_ALWAYS_INLINE void narrow(float value, Float16& result) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  // From 2^-14 on, the exponent is moved, and the 13 bits that do not fit are rounded.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Below it, adding 0.5 puts the last bit that fits at the end of the mantissa, and rounds.
  const uint32_t denormal = bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000;
  uint32_t result_bits = magnitude < (113u << 23) ? denormal : normal;
  // Numbers from 65520 on would round to 2^16 or more, and become infinite.
  result_bits = magnitude >= 0x477ff000 ? 0x7c00 : result_bits;
  result_bits = magnitude > 0x7f800000 ? 0x7e00 : result_bits;
  result.bits = static_cast<uint16_t>(result_bits | sign);
}

// The bits of a logit or gradient of either half type: kernels move it, and convert it row by row.
using Half = uint16_t;

// The type in which values are added up. Half types are added up in float32, and rounded once.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, Half>, float, T>;

// The integer of a number's width, in which its bits are compared and moved.
template <class T>
using KeyOf = std::conditional_t<sizeof(T) == 2, int16_t,
                                 std::conditional_t<sizeof(T) == 4, int32_t, int64_t>>;

// Converts every stride-th of `from`, or [n] numbers. Defined in half_rows-inl.h, and compiled once
// for all kernels. type: which of the half types.
void widen_row(FloatType type, const Half* from, int64_t stride, int64_t n, float* to);
void narrow_row(FloatType type, const float* from, int64_t n, Half* to);

// Copies numbers that are wide already.
template <class T>
inline void widen_row(FloatType /*type*/, const T* from, int64_t stride, int64_t n, T* to) {
  gather_row(from, stride, n, to);
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
