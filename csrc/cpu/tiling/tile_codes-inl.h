// The target of a tile, read once for all its channels: one code per pixel (see class_codes-inl.h),
// in the flat layout of the candidates. Indices outside the image are invalid, so no candidates.
// Planes are read all at once, or one by one while the tile marches: where the passes take long,
// memory then works while they compute.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "class_codes-inl.h"
#include "plane_layout-inl.h"
#include "tiles.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

class TileCodes {
 public:
  TileCodes(Scratch& scratch, const Target& target, const Geometry& geometry, const Tile& tile,
            const PlaneLayout& layout)
      : target_(target),
        geometry_(geometry),
        tile_(tile),
        layout_(layout),
        planes_(tile.span[kOuter].grown(geometry.reach(kOuter), geometry.size[kOuter])),
        plane_length_(layout.allocated()),
        codes_(scratch.array<uint8_t>(planes_.length() * plane_length_)),
        next_(planes_.begin) {
  }

  // The tile's planes, and those that its windows reach.
  Span planes() const {
    return planes_;
  }
  // Reads all planes before `end` that were not read yet.
  void read(int64_t end) {
    for (; next_ < std::min(end, planes_.end); ++next_) {
      read_plane(next_, end);
    }
  }
  // Prefetches a part of a row that is read soon, while others are worked on. For planes of one
  // row.
  void fetch_ahead_of_reading(int64_t z, int64_t column, int64_t count) const {
    if (next_ <= z && z < planes_.end) {
      fetch_class_codes(target_, tile_.channels,
                        {tile_.batch, z, layout_.rows.begin, column, count});
    }
  }

  // Returns the codes of a plane that was read.
  const uint8_t* operator()(int64_t z) const {
    return codes_ + (z - planes_.begin) * plane_length_;
  }
  const Fault& fault() const {
    return fault_;
  }

 private:
  void read_plane(int64_t z, int64_t end) {
    uint8_t* plane = codes_ + (z - planes_.begin) * plane_length_;
    uint8_t* written = plane;
    for (int64_t y = layout_.rows.begin; y < layout_.rows.end; ++y) {
      const int64_t x = layout_.columns.begin;
      uint8_t* row = plane + layout_.index(y, x);
      std::fill(written, row, kInvalidPixel);
      fetch_row_ahead(z, y, end);
      read_class_codes(target_, geometry_, tile_.channels,
                       {tile_.batch, z, y, x, layout_.columns.length()}, row, fault_);
      written = row + layout_.columns.length();
    }
    std::fill(written, plane + plane_length_, kInvalidPixel);
  }
  // Rows are read one after the other with little work in between, so a later one is prefetched.
  void fetch_row_ahead(int64_t z, int64_t y, int64_t end) const {
    constexpr int64_t rows_ahead = 4;
    y += rows_ahead;
    if (y >= layout_.rows.end) {
      y = std::min(y - layout_.rows.length(), layout_.rows.end - 1);
      z += 1;
    }
    if (z < end) {
      fetch_class_codes(target_, tile_.channels,
                        {tile_.batch, z, y, layout_.columns.begin, layout_.columns.length()});
    }
  }

  const Target& target_;
  const Geometry& geometry_;
  const Tile tile_;
  const PlaneLayout& layout_;
  const Span planes_;
  const int64_t plane_length_;
  uint8_t* codes_;  // [planes, plane_length]
  int64_t next_;    // the next plane to be read
  Fault fault_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
