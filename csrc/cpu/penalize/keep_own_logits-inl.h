// The loops behind own_logits-inl.h.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/strided-inl.h"
#include "../vector/blend-inl.h"
#include "own_logits-inl.h"
#if SCNP_AVX512
#include "keep_own_logits_avx512-inl.h"
#endif

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// So many pixels are looked at together: a part of a row in which the gate is true everywhere costs
// no more than reading it.
constexpr int64_t kGatedPixels = 4 * kBlock;

inline bool is_open(const uint8_t* gate, int64_t n) {
  uint8_t closed = 0;
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    closed |= static_cast<uint8_t>(gate[i] == 0);
  }
  return closed == 0;
}

// Key: an integer of the logits' width.
template <class Key, class Winner>
void keep_own_logits_of_row(const uint8_t* gate, const Key* own, Winner centre_tap, int64_t n,
                            Key* penalized, Winner* winners) {
#if SCNP_AVX512
  if constexpr (sizeof(Winner) == 1) {
    return keep_own_logits_of_blocks(gate, own, centre_tap, n, penalized, winners);
  }
#endif
  if (is_open(gate, n)) {
    return;
  }
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    penalized[i] = blend(penalized[i], own[i], lane_mask<Key>(gate[i] == 0));
  }
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    winners[i] = blend(winners[i], centre_tap, lane_mask<Winner>(gate[i] == 0));
  }
}

// Returns [n] elements that lie `stride` elements apart, contiguous: where they lie, or copied to
// `to`.
template <class T>
const T* contiguous(const T* from, int64_t stride, int64_t n, T* to) {
  if (stride == 1) {
    return from;
  }
  gather_row(from, stride, n, to);
  return to;
}

template <class Key, class Winner>
void keep_own_logits_of_plane(const OwnLogits& own, const PlaneLayout& layout, int64_t batch,
                              int64_t channel, int64_t z, Key* penalized, Winner* winners) {
  const View<const uint8_t>& gate = own.gate.view;
  const auto centre_tap = static_cast<Winner>(own.centre_tap);
  uint8_t gate_copy[kGatedPixels];
  Key logits_copy[kGatedPixels];
  for (int64_t y = layout.interior_rows.begin; y < layout.interior_rows.end; ++y) {
    const int64_t row = (y - layout.interior_rows.begin) * layout.pitch;
    for (int64_t x = layout.interior_columns.begin; x < layout.interior_columns.end;
         x += kGatedPixels) {
      const int64_t n = std::min(kGatedPixels, layout.interior_columns.end - x);
      fetch_ahead(gate.at(batch, 0, z + 1, y, x), n, gate.axis[kInner]);
      const auto* logits = reinterpret_cast<const Key*>(own.logits.data) +
                           own.logits.offset(batch, channel, z, y, x);
      const int64_t index = row + x - layout.interior_columns.begin;
      keep_own_logits_of_row(
          contiguous(gate.at(batch, 0, z, y, x), gate.axis[kInner], n, gate_copy),
          contiguous(logits, own.logits.axis[kInner], n, logits_copy), centre_tap, n,
          penalized + index, winners + index);
    }
  }
}

void keep_own_logits(const OwnLogits& own, const PlaneLayout& layout, int64_t batch,
                     int64_t channel, int64_t z, void* penalized, void* winners) {
  with_winner_type(own.winner_type, [&]<class Winner>(Winner /*type*/) {
    const auto keep = [&]<class Key>(Key /*type*/) {
      keep_own_logits_of_plane(own, layout, batch, channel, z, static_cast<Key*>(penalized),
                               static_cast<Winner*>(winners));
    };
    switch (own.logit_size) {
      case 2:
        return keep(int16_t{});
      case 4:
        return keep(int32_t{});
      default:
        return keep(int64_t{});
    }
  });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
