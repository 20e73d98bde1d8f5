// How a plane of a tile lies in working memory.
//
//     one plane of a tile (window 3: one         in flat memory
//     pixel of reach on each side)
//
//         . . . . . . .
//         . a b c d e .         ->               . . . . . . . . a b c d e . . f g h i j . . .
//         . f g h i j .                                          |<- pitch ->|
//         . . . . . . .                                          a row and its reach on both sides
//
// The neighbour (middle, inner) of flat index i has index i + middle * pitch + inner, for all
// pixels alike: so every pass is one loop over many rows. Indices outside the image hold no
// candidate. A reduction over rows or columns keeps the plane's pitch; what it computes between the
// rows is never read.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>

#include "../../contract/geometry.h"
#include "tiles.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Pixels per block: as many as the widest register of any machine holds of the narrowest taps.
constexpr int64_t kBlock = 64;

inline int64_t whole_blocks(int64_t pixels) {
  return (pixels + kBlock - 1) / kBlock * kBlock;
}

// The flat layout of a tile's planes.
struct PlaneLayout {
  Span interior_rows;     // of the tile
  Span interior_columns;  //
  Span rows;              // with what its windows reach, inside the image
  Span columns;           //
  int64_t reach[2];       // along the rows' and the columns' axis (middle, inner)
  int64_t pitch = 0;      // from a row to the next

  PlaneLayout(const Geometry& geometry, const Tile& tile)
      : interior_rows(tile.span[kMiddle]),
        interior_columns(tile.span[kInner]),
        rows(interior_rows.grown(geometry.reach(kMiddle), geometry.size[kMiddle])),
        columns(interior_columns.grown(geometry.reach(kInner), geometry.size[kInner])),
        reach{geometry.reach(kMiddle), geometry.reach(kInner)},
        pitch(interior_columns.length() + 2 * reach[1]) {
  }

  // The size of the interior, from the tile's first to its last pixel, and of the interior with the
  // rows that the windows reach; in whole blocks.
  int64_t interior_size() const {
    return whole_blocks((interior_rows.length() - 1) * pitch + interior_columns.length());
  }
  int64_t rows_size() const {
    return whole_blocks((interior_rows.length() + 2 * reach[0]) * pitch);
  }
  // The size with room for the neighbours of the last block. It takes two blocks more, since the
  // middle pass of a large window rounds up a size that was rounded up before.
  int64_t allocated() const {
    return rows_size() + whole_blocks(2 * reach[1]) + 2 * kBlock;
  }
  // The first tap that the windows reach, counted within its plane.
  int64_t first_tap(const Geometry& geometry) const {
    return geometry.tap(-(geometry.window[kOuter] / 2), -reach[0], -reach[1]);
  }
  // The flat index of the image's pixel (y, x) ...
  int64_t index(int64_t y, int64_t x) const {
    return (y - interior_rows.begin + reach[0]) * pitch + x - interior_columns.begin + reach[1];
  }
  // ... and its distance from the index that the pixel has in a reduced plane.
  int64_t centre() const {
    return reach[0] * pitch + reach[1];
  }
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
