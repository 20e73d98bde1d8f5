// What a stored winner means: the tap's displacement from the centre, and its entry in a table.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../contract/geometry.h"

namespace scnp::cpu {

struct Displacement {
  int64_t axis[kAxes];
};

inline Displacement displacement_of_tap(const Geometry& geometry, int64_t tap) {
  Displacement displacement{};
  for (int axis = kInner; axis >= kOuter; --axis) {
    displacement.axis[axis] = tap % geometry.window[axis] - geometry.window[axis] / 2;
    tap /= geometry.window[axis];
  }
  return displacement;
}

// Returns false for taps that no pixel of the image can have: they lie beyond the border for all.
inline bool within_reach(const Geometry& geometry, const Displacement& displacement) {
  for (int axis = 0; axis < kAxes; ++axis) {
    const int64_t reach = geometry.reach(axis);
    if (displacement.axis[axis] < -reach || displacement.axis[axis] > reach) {
      return false;
    }
  }
  return true;
}

// Returns the entry of a winner in a table of so many taps, which holds every uint8. Numbers beyond
// the table share its last entry, so that corrupt winners cannot index out of bounds.
template <class Winner>
int64_t entry_of_tap(Winner tap, int64_t table_length) {
  if constexpr (sizeof(Winner) == 1) {
    return tap;
  } else {
    const auto number = static_cast<uint64_t>(tap);
    return static_cast<int64_t>(std::min(number, static_cast<uint64_t>(table_length - 1)));
  }
}

}  // namespace scnp::cpu
