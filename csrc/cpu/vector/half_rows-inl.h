// The loops of half_floats-inl.h.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/with_stride-inl.h"
#include "half_floats-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class Number>
void widen_row_of(const Half* from, int64_t stride, int64_t n, float* to) {
  with_stride(stride, [from, n, to](auto step) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < n; ++i) {
      to[i] = widen(Number{from[i * step]});
    }
  });
}
void widen_row(FloatType type, const Half* from, int64_t stride, int64_t n, float* to) {
  return type == FloatType::kFloat16 ? widen_row_of<Float16>(from, stride, n, to)
                                     : widen_row_of<BFloat16>(from, stride, n, to);
}

template <class Number>
void narrow_row_to(const float* from, int64_t n, Half* to) {
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    Number number;
    narrow(from[i], number);
    to[i] = number.bits;
  }
}
void narrow_row(FloatType type, const float* from, int64_t n, Half* to) {
  return type == FloatType::kFloat16 ? narrow_row_to<Float16>(from, n, to)
                                     : narrow_row_to<BFloat16>(from, n, to);
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
