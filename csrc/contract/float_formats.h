// The floating types' bits, as the kernels of every device order them.
#pragma once

#include <cstdint>

namespace scnp {

// Key: the signed integer of the float's width, in which its bits become an integer that keeps the
// floats' order. kInfinity: the bits of +inf, above which only NaN's are.
struct Float16Format {
  using Key = int16_t;
  static constexpr Key kInfinity = 0x7c00;
};
struct BFloat16Format {
  using Key = int16_t;
  static constexpr Key kInfinity = 0x7f80;
};
struct Float32Format {
  using Key = int32_t;
  static constexpr Key kInfinity = 0x7f800000;
};
struct Float64Format {
  using Key = int64_t;
  static constexpr Key kInfinity = 0x7ff0000000000000;
};

// The key of NaN beats every number's, and every number's beats the key that says that there is no
// candidate.
template <class Key>
constexpr Key kNanKey = static_cast<Key>(~(Key{1} << (8 * sizeof(Key) - 1)));
template <class Key>
constexpr Key kNoCandidate = static_cast<Key>(~kNanKey<Key>);

}  // namespace scnp
