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
// candidate" keep their place. Keys of the two classes are never compared with each other.
#pragma once

namespace scnp::cpu::SCNP_CAPABILITY {

// Bits: the signed integer of the float's width. kInfinity: the bits of +inf.
struct Float16Format {
  using Bits = int16_t;
  static constexpr Bits kInfinity = 0x7c00;
};
struct BFloat16Format {
  using Bits = int16_t;
  static constexpr Bits kInfinity = 0x7f80;
};
struct Float32Format {
  using Bits = int32_t;
  static constexpr Bits kInfinity = 0x7f800000;
};
struct Float64Format {
  using Bits = int64_t;
  static constexpr Bits kInfinity = 0x7ff0000000000000;
};

template <class Bits>
constexpr Bits kNoCandidate = std::numeric_limits<Bits>::min();
template <class Bits>
constexpr Bits kNanKey = std::numeric_limits<Bits>::max();

// Negative floats are stored as sign and magnitude: flipping the magnitude of
// the negative ones gives two's complement order. The map is its own inverse.
template <class Bits>
inline Bits flip_negative(Bits bits) {
  constexpr Bits magnitude = std::numeric_limits<Bits>::max();
  constexpr int sign_shift = 8 * sizeof(Bits) - 1;
  return static_cast<Bits>(bits ^ ((bits >> sign_shift) & magnitude));
}

template <class Format>
inline bool is_nan(typename Format::Bits bits) {
  using Bits = typename Format::Bits;
  return static_cast<Bits>(bits & std::numeric_limits<Bits>::max()) > Format::kInfinity;
}

// The key of a number. The two zeros differ by one after flip_negative: -0
// joins +0.
template <class Bits>
inline Bits ordered_key(Bits bits) {
  return static_cast<Bits>(flip_negative(bits) + (bits == std::numeric_limits<Bits>::min()));
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
