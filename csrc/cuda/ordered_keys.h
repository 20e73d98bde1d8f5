// Floats as integers that keep their order, so that one integer comparison decides everything.
//
//   no candidate < -inf < negative < -0 = +0 < positive < +inf < NaN
//
// A real -inf beats "no candidate"; among NaNs, being equal, the first stays. Foreground takes the
// minimum, so its keys are complemented; NaN and "no candidate" are the same in both classes. Keys
// of the two classes are never compared with each other.
#pragma once

#include <cstdint>

#include "../contract/float_formats.h"
#include "../contract/geometry.h"

namespace scnp::cuda {

template <class Format>
struct Keys {
  using Key = typename Format::Key;
  static constexpr Key kNan = kNanKey<Key>;
  static constexpr Key kNoCandidate = scnp::kNoCandidate<Key>;

  // Sign and magnitude to two's complement, and back: flips the magnitude of negative numbers.
  SCNP_HOST_DEVICE static Key flip_negative(Key bits) {
    return static_cast<Key>(bits < 0 ? bits ^ kNan : bits);
  }

  SCNP_HOST_DEVICE static Key from_bits(Key bits, bool is_foreground) {
    const Key magnitude = static_cast<Key>(bits & kNan);
    if (magnitude > Format::kInfinity) {
      return kNan;
    }
    const Key ordered = magnitude == 0 ? Key{0} : flip_negative(bits);
    return is_foreground ? static_cast<Key>(~ordered) : ordered;
  }

  SCNP_HOST_DEVICE static Key to_bits(Key key, bool is_foreground) {
    return flip_negative(is_foreground && key != kNan ? static_cast<Key>(~key) : key);
  }
};

}  // namespace scnp::cuda
