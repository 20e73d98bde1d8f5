// Loops over elements that lie a constant distance apart.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <type_traits>

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Calls body with the stride, as a constant where it is one of the common ones: loops over a known
// stride become vector instructions.
template <class Body>
SCNP_ALWAYS_INLINE void with_stride(int64_t stride, const Body& body) {
  switch (stride) {
    case 1:
      return body(std::integral_constant<int64_t, 1>{});
    case 2:
      return body(std::integral_constant<int64_t, 2>{});
    case 3:
      return body(std::integral_constant<int64_t, 3>{});
    case 4:
      return body(std::integral_constant<int64_t, 4>{});
    default:
      return body(stride);
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
