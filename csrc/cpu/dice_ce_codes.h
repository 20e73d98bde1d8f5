// The codes of a tile's own pixels for every class, as the loss reads them: flat like the penalized
// planes, with every place that is no pixel of the tile invalid, so that it counts for nothing.
#pragma once

#include "dice_ce_pixels.h"
#include "tile_codes.h"

namespace scnp::cpu::SCNP_CAPABILITY {

class DiceCECodes {
 public:
  DiceCECodes(Scratch& scratch, const Target& target, const Geometry& geometry, const Tile& tile,
              const PlaneLayout& layout)
      : layout_(layout), places_(layout.own_places()) {
    const Span classes = target.is_masks ? tile.channels : Span{0, 1};
    for (int64_t k = classes.begin; k < classes.end; ++k) {
      Tile of_class = tile;
      if (target.is_masks) {
        of_class.channels = {k, k + 1};
      }
      of_class_.emplace_back(scratch, target, geometry, of_class, layout);
    }
    own_ = scratch.array<uint8_t>(classes.length() * places_);
    std::fill_n(own_, classes.length() * places_, kInvalidPixel);
  }

  // Of class k, as Eq. 1 reads them: planes with what the windows reach.
  const TileCodes& of_class(int64_t k) const {
    return of_class_[of_class_.size() == 1 ? 0 : k];
  }
  // Of plane z, as the loss reads them; until the next call.
  BlockCodes own_places(int64_t z) {
    const int64_t length = layout_.own_columns.length();
    for (size_t k = 0; k < of_class_.size(); ++k) {
      const uint8_t* codes = of_class_[k](z) + layout_.centre();
      for (int64_t y = 0; y < layout_.own_rows.length(); ++y) {
        std::copy_n(codes + y * layout_.pitch, length, own_ + k * places_ + y * layout_.pitch);
      }
    }
    return {own_, of_class_.size() == 1 ? 0 : places_};
  }
  Fault fault() const {
    Fault first;
    for (const TileCodes& codes : of_class_) {
      first.merge(codes.fault());
    }
    return first;
  }

 private:
  const PlaneLayout& layout_;
  int64_t places_;
  std::deque<TileCodes> of_class_;  // [C] masks, or one label map
  uint8_t* own_ = nullptr;          // likewise, [own places] each
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
