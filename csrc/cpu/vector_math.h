// The exponential and the logarithm that probabilities need, in operations that every instruction
// set has: loops over them vectorise, and all capabilities compute the same bits.
//
//     exp x = 2^n * e^r          n = x / ln 2, rounded;  |r| <= ln 2 / 2
//     log x = n * ln 2 + log m   x = 2^n * m;            m in [sqrt(1/2), sqrt(2))
//
// Both are a polynomial on a small interval, within 2 units in the last place. NaN gives NaN.
#pragma once

#include "half_floats.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// `value` where the condition holds, else 0. With bits, so that it never becomes a branch, and
// an infinite value can be dropped.
inline float keep_if(bool condition, float value) {
  return float_of_bits(bits_of_float(value) & (0u - static_cast<uint32_t>(condition)));
}
inline double keep_if(bool condition, double value) {
  return condition ? value : 0.0;
}

// e^x for x <= 0; 0 where the result would be denormal.
inline float exp_of_nonpositive(float x) {
  constexpr float log2_e = 1.44269504f;
  constexpr float ln2_high = 0.693359375f;  // few bits, so that n * ln2_high is exact
  constexpr float ln2_low = -2.12194440e-4f;
  constexpr float round_to_integer = 12582912.0f;  // 1.5 * 2^23: no bits are left for fractions
  constexpr float smallest = -87.3f;
  const float clipped = x < smallest ? smallest : x;
  const float shifted = clipped * log2_e + round_to_integer;
  const float n = shifted - round_to_integer;
  const float r = (clipped - n * ln2_high) - n * ln2_low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // The integer stands in the low bits of the shifted number.
  const float power = float_of_bits((bits_of_float(shifted) + 127u) << 23);
  return keep_if(!(x < smallest), p * power);
}

// log x for finite x >= 1/2.
inline float log_of_positive(float x) {
  constexpr uint32_t sqrt_half = 0x3f3504f3;
  const uint32_t shifted = bits_of_float(x) - sqrt_half;
  const float n = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float m = float_of_bits((shifted & 0x007fffff) + sqrt_half) - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const float square = m * m;
  const float tail = p * m * square + n * -2.12194440e-4f - 0.5f * square;
  // The difference is 0, or NaN if x is.
  return m + tail + n * 0.693359375f + (x - x);
}

inline double exp_of_nonpositive(double x) {
  return std::exp(x);
}
inline double log_of_positive(double x) {
  return std::log(x);
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
