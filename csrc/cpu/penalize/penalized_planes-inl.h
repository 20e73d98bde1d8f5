// What every path of Eq. 1 offers: the penalized logits of one channel of a tile, plane by plane
// along the march.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <memory>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/plane_layout-inl.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Where a plane goes, flat: [interior rows] at the layout's pitch, in whole blocks (kBlock).
template <class Key>
struct PlaneResults {
  Key* penalized = nullptr;
  void* winners = nullptr;  // of the type that choose_path() was given
  // What follows is for may_stream() alone. Whether logits are written around the cache; and, where
  // there is a gate, its row and that of the logits, both contiguous: where it is false a pixel
  // keeps its own.
  bool streamed = false;
  const uint8_t* gate = nullptr;
  const Key* own = nullptr;
};

// Key: the integer of the logits' width, in which their bits are read and written.
template <class Key>
class PenalizedPlanes {
 public:
  PenalizedPlanes() = default;
  PenalizedPlanes(const PenalizedPlanes&) = delete;
  PenalizedPlanes& operator=(const PenalizedPlanes&) = delete;
  virtual ~PenalizedPlanes() = default;

  // Begins a channel. The logit of pixel (z, y, x) stands at the sum of index times stride.
  virtual void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t class_code) = 0;

  // Writes plane z of the tile. Planes come in ascending order. codes: read as far as the windows
  // of plane z reach.
  virtual void plane(int64_t z, const TileCodes& codes, const PlaneResults<Key>& results) = 0;

  // Whether it prefetches the codes of the next plane while it works on one; codes should then be
  // read plane by plane.
  virtual bool prefetches_codes() const {
    return false;
  }
  virtual bool may_stream(const Key* /*penalized*/) const {
    return false;
  }
};

// Returns the fastest path for these windows. Compiled by units of Eq. 1 alone.
template <class Key>
std::unique_ptr<PenalizedPlanes<Key>> choose_path(Scratch& scratch, FloatType type,
                                                  WinnerType winner_type, const Geometry& geometry,
                                                  const Tile& tile, const PlaneLayout& layout);

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
