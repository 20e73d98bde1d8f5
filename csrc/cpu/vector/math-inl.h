// The exponential and the logarithm that probabilities need, in operations that every instruction
// set has: all compute the same bits.
//
//     exp x = 2^n * e^r          n = x / ln 2, rounded;  |r| <= ln 2 / 2
//     log x = n * ln 2 + log m   x = 2^n * m;            m in [sqrt(1/2), sqrt(2))
//
// Both are a polynomial on a small interval, within 2 units in the last place. NaN gives NaN.
#pragma once

#include "../targets/prologue.h"

#include <cmath>
#include <cstdint>

#include "lanes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Returns e^x for x <= 0, and 0 where the result would be denormal, or little above.
SCNP_ALWAYS_INLINE Lanes<float> exp_of_nonpositive(const Lanes<float>& x) {
  using L = Lanes<float>;
  const L log2_e = L::all(1.44269504f);
  const L ln2_high = L::all(0.693359375f);  // few bits, so that n * ln2_high is exact
  const L ln2_low = L::all(-2.12194440e-4f);
  const L round_to_integer = L::all(12582912.0f);  // 1.5 * 2^23: no bits are left for fractions
  // From here down n is -127, whose power of two is written as 0.
  const L smallest = L::all(-88.0f);
  const L clipped = larger(smallest, x);
  const L shifted = clipped * log2_e + round_to_integer;
  const L n = shifted - round_to_integer;
  const L r = (clipped - n * ln2_high) - n * ln2_low;
  // Estrin's scheme, not Horner's: the chain of operations that wait for each other is shorter.
  const L square = r * r;
  const L sixth_power_on = L::all(1.3950492e-3f);
  const L fourth_power_on =
      (L::all(4.1666206e-2f) + L::all(8.3688898e-3f) * r) + square * sixth_power_on;
  const L second_power_on = (L::all(0.5f) + L::all(0.16666518f) * r) + square * fourth_power_on;
  const L p = (L::all(1.0f) + r) + square * second_power_on;
  // The integer stands in the low bits of the shifted number. It is unsigned, since those of a NaN
  // may be any.
  using U = Lanes<uint32_t>;
  const U power = U::each<uint32_t>(
      [&, bits = bits_as<uint32_t>(shifted)](auto part) { return (bits.part[part] + 127u) << 23; });
  return p * bits_as<float>(power);
}

// The polynomial of the logarithm: (log(1 + m) - m + m^2 / 2) / m^3.
struct ByHorner {
  static SCNP_ALWAYS_INLINE Lanes<float> polynomial(const Lanes<float>& m,
                                                    const Lanes<float>& /*square*/) {
    using L = Lanes<float>;
    L p = L::all(7.0376836292e-2f);
    p = p * m - L::all(1.1514610310e-1f);
    p = p * m + L::all(1.1676998740e-1f);
    p = p * m - L::all(1.2420140846e-1f);
    p = p * m + L::all(1.4249322787e-1f);
    p = p * m - L::all(1.6668057665e-1f);
    p = p * m + L::all(2.0000714765e-1f);
    p = p * m - L::all(2.4999993993e-1f);
    return p * m + L::all(3.3333331174e-1f);
  }
};
// With a shorter chain of operations that wait for each other, and one operation more.
struct ByEstrin {
  static SCNP_ALWAYS_INLINE Lanes<float> polynomial(const Lanes<float>& m,
                                                    const Lanes<float>& square) {
    using L = Lanes<float>;
    const L from_0 = (L::all(3.3333331174e-1f) - L::all(2.4999993993e-1f) * m) +
                     (L::all(2.0000714765e-1f) - L::all(1.6668057665e-1f) * m) * square;
    const L from_4 = (L::all(1.4249322787e-1f) - L::all(1.2420140846e-1f) * m) +
                     (L::all(1.1676998740e-1f) - L::all(1.1514610310e-1f) * m) * square;
    const L fourth = square * square;
    return from_0 + (from_4 + L::all(7.0376836292e-2f) * fourth) * fourth;
  }
};

// Returns log x for finite, positive x that is not denormal.
template <class Scheme = ByHorner>
SCNP_ALWAYS_INLINE Lanes<float> log_of_positive(const Lanes<float>& x) {
  using L = Lanes<float>;
  using I = Lanes<int32_t>;
  constexpr int32_t sqrt_half = 0x3f3504f3;
  const I bits = bits_as<int32_t>(x);
  const L n =
      to_float(I::each<int32_t>([&](auto part) { return (bits.part[part] - sqrt_half) >> 23; }));
  const I mantissa = I::each<int32_t>(
      [&](auto part) { return ((bits.part[part] - sqrt_half) & 0x007fffff) + sqrt_half; });
  const L m = bits_as<float>(mantissa) - L::all(1.0f);
  const L square = m * m;
  const L p = Scheme::polynomial(m, square);
  const L tail = p * m * square + n * L::all(-2.12194440e-4f) - L::all(0.5f) * square;
  // x - x is 0, or NaN if x is NaN.
  return m + tail + n * L::all(0.693359375f) + (x - x);
}

// Returns -log(1 - w) for w in [0, 1/2], within 2 units in the last place however small w is:
// w + w^2 * a polynomial.
SCNP_ALWAYS_INLINE Lanes<float> minus_log_of_complement(const Lanes<float>& w) {
  using L = Lanes<float>;
  const L square = w * w;
  const L fourth = square * square;
  const L from_0 = (L::all(0.499995217f) + L::all(0.333632121f) * w) +
                   (L::all(0.243682612f) + L::all(0.263690844f) * w) * square;
  const L from_4 = (L::all(-0.180951625f) + L::all(1.20871180f) * w) +
                   (L::all(-1.63958627f) + L::all(1.41454570f) * w) * square;
  return w + square * (from_0 + fourth * from_4);
}

// Returns the square root of x >= 0, which every instruction set rounds alike. Plain loops are not
// vectorized, since std::sqrt would have to report negative numbers.
SCNP_ALWAYS_INLINE Lanes<float> root(const Lanes<float>& x) {
#if SCNP_AVX512
  return Lanes<float>::each<float>(
      [&](auto part) { return Lanes<float>::Vector(_mm512_sqrt_ps(__m512(x.part[part]))); });
#elif SCNP_AVX2
  return Lanes<float>::each<float>(
      [&](auto part) { return Lanes<float>::Vector(_mm256_sqrt_ps(__m256(x.part[part]))); });
#else
  float values[kLanes];
  x.store(values);
#if SCNP_X86
  for (int64_t i = 0; i < kLanes; i += 4) {
    _mm_storeu_ps(values + i, _mm_sqrt_ps(_mm_loadu_ps(values + i)));
  }
#else
  for (float& value : values) {
    value = std::sqrt(value);
  }
#endif
  return Lanes<float>::load(values);
#endif
}

template <class F>
inline Lanes<double> of_each(const Lanes<double>& x, const F& f) {
  double values[kLanes];
  x.store(values);
  for (double& value : values) {
    value = f(value);
  }
  return Lanes<double>::load(values);
}
inline Lanes<double> exp_of_nonpositive(const Lanes<double>& x) {
  return of_each(x, [](double value) { return std::exp(value); });
}
inline Lanes<double> minus_log_of_complement(const Lanes<double>& w) {
  return of_each(w, [](double value) { return -std::log1p(-value); });
}
inline Lanes<double> root(const Lanes<double>& x) {
  return of_each(x, [](double value) { return std::sqrt(value); });
}
template <class Scheme = ByHorner>
inline Lanes<double> log_of_positive(const Lanes<double>& x) {
  return of_each(x, [](double value) { return std::log(value); });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
