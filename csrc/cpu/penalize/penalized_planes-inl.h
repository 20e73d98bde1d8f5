// What every path of Eq. 1 offers: the penalized logits of one channel of a tile, plane by plane
// along the march.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <memory>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../kernels.h"
#include "../memory/scratch.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"
#include "class_candidates-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

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

  // Writes plane z of the tile, flat: [interior rows] at the layout's pitch. Planes come in
  // ascending order. codes: read as far as the windows of plane z reach. winners: of the type that
  // choose_path() was given. streamed: the logits are written around the cache; only if
  // may_stream().
  virtual void plane(int64_t z, const TileCodes& codes, Key* penalized, void* winners,
                     bool streamed) = 0;

  // Whether it prefetches the codes of the next plane while it works on one; codes should then be
  // read plane by plane.
  virtual bool prefetches_codes() const {
    return false;
  }
  virtual bool may_stream(const Key* /*penalized*/) const {
    return false;
  }
};

// Eq. 1 for logits whose keys are of one width. Units of their own compile it, so that the fused
// loss does not.
template <class Key>
struct Penalize {
  static Fault forward(const ForwardCall& call, const Workers& workers);
  // The fastest path for these windows.
  static std::unique_ptr<PenalizedPlanes<Key>> choose_path(Scratch& scratch, FloatType type,
                                                           WinnerType winner_type,
                                                           const Geometry& geometry,
                                                           const Tile& tile,
                                                           const PlaneLayout& layout);
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
