// Floats as integers that keep their order, so that one integer comparison decides everything.
//
//     bits of the float           key               the order that strict `>` sees
//
//     no candidate                lowest integer    below everything: a real -inf still beats it
//     -inf                                          an ordinary value
//     negative, zero, positive                      -0 and +0 are equal, as in the paper's listing
//     +inf                                          an ordinary value
//     NaN                         highest integer   beats everything; among NaNs the first stays
//
// Foreground takes the minimum, so its keys are complemented (~key reverses the order); NaN and "no
// candidate" are the same in both classes. Keys of the two classes are never compared with each
// other.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <limits>

#include "../../contract/float_formats.h"
#include "../../contract/geometry.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Floats are stored as sign and magnitude: flipping the magnitude of negative ones gives the order
// of two's complement. The map is its own inverse.
template <class Bits>
inline Bits flip_negative(Bits bits) {
  constexpr Bits magnitude = std::numeric_limits<Bits>::max();
  constexpr int sign_shift = 8 * sizeof(Bits) - 1;
  return static_cast<Bits>(bits ^ ((bits >> sign_shift) & magnitude));
}

// The bits of +inf, above which only those of NaN are. They are a constant, except for keys of 16
// bits, which two types have.
template <class Key>
class Infinity {
 public:
  explicit constexpr Infinity(FloatType /*type*/) {
  }
  constexpr operator Key() const {
    return sizeof(Key) == 4 ? static_cast<Key>(Float32Format::kInfinity)
                            : static_cast<Key>(Float64Format::kInfinity);
  }
};
template <>
class Infinity<int16_t> {
 public:
  explicit constexpr Infinity(FloatType type)
      : bits_(type == FloatType::kFloat16 ? Float16Format::kInfinity : BFloat16Format::kInfinity) {
  }
  constexpr operator int16_t() const {
    return bits_;
  }

 private:
  int16_t bits_;
};

template <class Bits>
inline bool is_nan(Bits bits, Infinity<Bits> infinity) {
  return static_cast<Bits>(bits & std::numeric_limits<Bits>::max()) > infinity;
}

// Returns the key of a number. After flip_negative the two zeros differ by one; -0 joins +0.
template <class Bits>
inline Bits ordered_key(Bits bits) {
  return static_cast<Bits>(flip_negative(bits) + (bits == std::numeric_limits<Bits>::min()));
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
