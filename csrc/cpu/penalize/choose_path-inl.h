// Picks what computes Eq. 1 for one channel of a tile: Window3, Window5To15In2D where the machine
// has registers for them, or else AnyWindow. All of them are a masked maximum over a box,
// separable, that carries (key, tap) of both classes and marches along the outer axis.
//
//     logits, codes                reduced planes of the window (window 3)     penalized, winners
//
//     plane z+1  -- rows, columns -->   z+1  --,
//       .                               z    --+-- along the march, in the  -->  plane z
//       .                               z-1  --'   pixel's class
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <memory>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tiles.h"
#include "any_window-inl.h"
#include "penalized_planes-inl.h"
#if SCNP_REGISTERS
#include "window3-inl.h"
#include "window5to15_2d-inl.h"
#endif

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

#if SCNP_REGISTERS
// Four pixels of double precision fill a register of AVX2: there these passes gain little, and take
// seconds to compile.
template <class Key>
constexpr bool kHasWindow5To15In2D = SCNP_AVX512 || sizeof(Key) < 8;
#endif

template <class Key>
std::unique_ptr<PenalizedPlanes<Key>> choose_path(Scratch& scratch, FloatType type,
                                                  WinnerType winner_type, const Geometry& geometry,
                                                  const Tile& tile, const PlaneLayout& layout) {
  const Infinity<Key> infinity(type);
#if SCNP_REGISTERS
  if (winner_type == WinnerType::kUInt8) {
    if (Window3<Key>::serves(geometry, layout)) {
      return std::make_unique<Window3<Key>>(scratch, geometry, tile, layout, infinity);
    }
    if constexpr (kHasWindow5To15In2D<Key>) {
      if (Window5To15In2D<Key>::serves(geometry, layout)) {
        return std::make_unique<Window5To15In2D<Key>>(scratch, geometry, tile, layout, infinity);
      }
    }
  }
#endif
  return with_winner_type(
      winner_type, [&]<class Winner>(Winner /*type*/) -> std::unique_ptr<PenalizedPlanes<Key>> {
        return std::make_unique<AnyWindow<Key, Winner>>(scratch, geometry, tile, layout, infinity);
      });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
