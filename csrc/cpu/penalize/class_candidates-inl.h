// Working memory for candidates of both classes, and how a plane of a tile lies in it.
//
//     one plane of a tile (window 3: one         in flat memory
//     pixel of reach on each side)
//
//         . . . . . . .
//         . a b c d e .         ->               . . . . . . . . a b c d e . . f g h i j . . .
//         . f g h i j .                                          |<- pitch ->|
//         . . . . . . .                                          a row and its reach on both sides
//
// The neighbour (middle, inner) of flat place i is at i + middle * pitch + inner, for all pixels
// alike: so every pass is one loop over many rows. Places outside the image hold no candidate. A
// reduction over rows or columns keeps the plane's pitch; what it computes between the rows is read
// by nobody.
#pragma once

#include "../targets/prologue.h"

#include <array>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tiles.h"
#include "first_best-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

constexpr int kBackground = 0;
constexpr int kForeground = 1;
constexpr int kClasses = 2;

template <class Key, class Tap>
using BothClasses = std::array<Candidates<Key, Tap>, kClasses>;

// What the passes hand each other of so many places stays in the first cache.
template <class Key>
constexpr int64_t kPlacesInFirstCache = 64 * kBlock / sizeof(Key);

// The flat layout of a tile's planes.
struct PlaneLayout {
  Span own_rows;      // of the tile
  Span own_columns;   //
  Span rows;          // and what its windows reach, inside the image
  Span columns;       //
  int64_t reach[2];   // along the rows' and the columns' axis (middle, inner)
  int64_t pitch = 0;  // places from a row to the next

  PlaneLayout(const Geometry& geometry, const Tile& tile)
      : own_rows(tile.span[kMiddle]),
        own_columns(tile.span[kInner]),
        rows(own_rows.grown(geometry.reach(kMiddle), geometry.size[kMiddle])),
        columns(own_columns.grown(geometry.reach(kInner), geometry.size[kInner])),
        reach{geometry.reach(kMiddle), geometry.reach(kInner)},
        pitch(own_columns.length() + 2 * reach[1]) {
  }

  // Places from the first to the last pixel of the tile, and of these with the
  // rows that the windows reach; in whole blocks.
  int64_t own_places() const {
    return whole_blocks((own_rows.length() - 1) * pitch + own_columns.length());
  }
  int64_t row_places() const {
    return whole_blocks((own_rows.length() + 2 * reach[0]) * pitch);
  }
  // With room behind for the neighbours of the last block. Two blocks: the middle pass of a large
  // window rounds up the places of a plane that was rounded up itself.
  int64_t allocated() const {
    return row_places() + whole_blocks(2 * reach[1]) + 2 * kBlock;
  }
  // The first tap that the windows reach, counted within its plane.
  int64_t first_tap(const Geometry& geometry) const {
    return geometry.tap(-(geometry.window[kOuter] / 2), -reach[0], -reach[1]);
  }
  // Where the image's pixel (y, x) stands among all places ...
  int64_t place(int64_t y, int64_t x) const {
    return (y - own_rows.begin + reach[0]) * pitch + x - own_columns.begin + reach[1];
  }
  // ... and from the place of an own pixel in a reduced plane to the pixel
  // itself.
  int64_t centre() const {
    return reach[0] * pitch + reach[1];
  }
};

// `planes` planes of `length` candidates of both classes.
template <class Key, class Tap>
class CandidatePlanes {
 public:
  CandidatePlanes(Scratch& scratch, int64_t planes, int64_t length)
      : planes_(planes),
        length_(length),
        keys_(scratch.array<Key>(kClasses * planes * length)),
        taps_(scratch.array<Tap>(kClasses * planes * length)) {
  }

  BothClasses<Key, Tap> plane(int64_t index) const {
    BothClasses<Key, Tap> both;
    for (int c = 0; c < kClasses; ++c) {
      const int64_t at = (c * planes_ + index) * length_;
      both[c] = {keys_ + at, taps_ + at};
    }
    return both;
  }

 private:
  int64_t planes_;
  int64_t length_;
  Key* keys_;
  Tap* taps_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
