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
  Span planes_;
  int64_t plane_length_;
  uint8_t* codes_;  // [planes, places]
  Fault fault_;
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
