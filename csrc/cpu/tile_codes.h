// The target of a tile, read once for all its channels: one code per pixel (see
// pixel_codes.h), in the flat layout of the candidates. Places outside the
// image are invalid, so nobody's candidates.
#pragma once

#include "class_candidates.h"
#include "pixel_codes.h"

namespace scnp::cpu::SCNP_CAPABILITY {

class TileCodes {
 public:
  TileCodes(Scratch& scratch, const Target& target, const Geometry& geometry, const Tile& tile,
            const PlaneLayout& layout)
      : planes_(tile.span[kOuter].grown(geometry.reach(kOuter), geometry.size[kOuter])),
        plane_length_(layout.allocated()),
        codes_(scratch.array<uint8_t>(planes_.length() * plane_length_)) {
    for (int64_t z = planes_.begin; z < planes_.end; ++z) {
      uint8_t* plane = codes_ + (z - planes_.begin) * plane_length_;
      uint8_t* written = plane;
      for (int64_t y = layout.rows.begin; y < layout.rows.end; ++y) {
        const int64_t x = layout.columns.begin;
        uint8_t* row = plane + layout.place(y, x);
        std::fill(written, row, kInvalidPixel);
        fetch_row_ahead(target, tile, layout, z, y);
        read_pixel_codes(target, geometry, tile.channels,
                         {tile.batch, z, y, x, layout.columns.length()}, row, fault_);
        written = row + layout.columns.length();
      }
      std::fill(written, plane + plane_length_, kInvalidPixel);
    }
  }

  const uint8_t* operator()(int64_t z) const {
    return codes_ + (z - planes_.begin) * plane_length_;
  }
  const Fault& fault() const {
    return fault_;
  }

 private:
  // Rows are read one after the other with little work in between: ask for one of those to come.
  static void fetch_row_ahead(const Target& target, const Tile& tile, const PlaneLayout& layout,
                              int64_t z, int64_t y) {
    constexpr int64_t rows_ahead = 4;
    y += rows_ahead;
    if (y >= layout.rows.end) {
      y = std::min(y - layout.rows.length(), layout.rows.end - 1);
      z += 1;
    }
    fetch_pixel_codes(target, tile.channels,
                      {tile.batch, z, y, layout.columns.begin, layout.columns.length()});
  }

  Span planes_;
  int64_t plane_length_;
  uint8_t* codes_;  // [planes, places]
  Fault fault_;
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
