// Eq. 1 on the CPU, for one channel of a tile: a masked maximum over a box,
// separable, carrying (key, tap) of both classes, marching along the outer
// axis.
//
//     logits, codes         planes of the window (window 3)         penalized,
//     winners
//
//     plane z+1  --- plane reduction --->  z+1 \ . plane z z    >-- outer pass
//     -->  plane z           . plane z-1                            z-1 / pick
//     own class
//
//   Each pass visits its sources in ascending order and replaces only on strict
//   `>`, so the winner is the first in raster order.
#pragma once

#include "plane_reduction.h"
#include "sliding_planes.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// The last pass over three sources of both classes, and of these the pixel's
// own: the bits of the winning logit, and the winner's tap.
template <class Sources, class Tap, class Key, class Winner>
void first_best_of_own_class(const Sources& sources, const uint8_t* codes, uint8_t own_code,
                             Tap centre_tap, int64_t n, Key* logits, Winner* winners) {
  for (int64_t block = 0; block < n; block += kBlock) {
    // Copies: a store to bytes may change anything that lies behind a
    // reference.
    const auto background_a = sources[kBackground][0].from(block);
    const auto background_b = sources[kBackground][1].from(block);
    const auto background_c = sources[kBackground][2].from(block);
    const auto foreground_a = sources[kForeground][0].from(block);
    const auto foreground_b = sources[kForeground][1].from(block);
    const auto foreground_c = sources[kForeground][2].from(block);
    const uint8_t* code = codes + block;
    Key* logit = logits + block;
    Winner* winner = winners + block;
    SCNP_VECTORIZE
    for (int64_t i = 0; i < kBlock; ++i) {
      Key best = background_a.key[i];
      Tap tap = background_a.tap(i);
      replace_if_better(background_b, i, best, tap);
      replace_if_better(background_c, i, best, tap);
      Key foreground_best = foreground_a.key[i];
      Tap foreground_tap = foreground_a.tap(i);
      replace_if_better(foreground_b, i, foreground_best, foreground_tap);
      replace_if_better(foreground_c, i, foreground_best, foreground_tap);
      const bool own = code[i] == own_code;
      best = own ? static_cast<Key>(~foreground_best) : best;
      tap = blend(blend(tap, foreground_tap, lane_mask<Tap>(own)), centre_tap,
                  lane_mask<Tap>(code[i] == kInvalidPixel));
      logit[i] = flip_negative(best);
      winner[i] = static_cast<Winner>(tap);
    }
  }
}

template <class Format, class Tap, class Winner>
class PenalizedPlanes {
  using Key = typename Format::Bits;

 public:
  PenalizedPlanes(Scratch& scratch, const Geometry& geometry, const Tile& tile,
                  const PlaneLayout& layout)
      : geometry_(geometry),
        tile_(tile),
        layout_(layout),
        reduction_(scratch, geometry, layout),
        sliding_(scratch, geometry.window[kOuter], geometry.reach(kOuter),
                 geometry.window[kMiddle] * geometry.window[kInner], layout.own_places()) {
  }

  // logits: of this channel; of pixel (z, y, x) at the sum of index times
  // stride. codes(z): the codes of plane z, flat, see PlaneLayout.
  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t own_code) {
    logits_ = logits;
    strides_ = {strides[kOuter], strides[kMiddle], strides[kInner]};
    own_code_ = own_code;
    sliding_.start(tile_.span[kOuter].grown(geometry_.reach(kOuter), geometry_.size[kOuter]).begin);
  }

  // The plane z of the tile, in ascending order of z: flat, [own rows] at the
  // layout's pitch.
  template <class Codes>
  void plane(int64_t z, const Codes& codes, Key* penalized, Winner* winners) {
    const Span needed = Span{z, z + 1}.grown(geometry_.reach(kOuter), geometry_.size[kOuter]);
    while (sliding_.next() < needed.end) {
      const int64_t next = sliding_.next();
      reduction_.reduce(logits_ + next * strides_[kOuter], {strides_[kMiddle], strides_[kInner]},
                        codes(next), own_code_, sliding_.plane());
      sliding_.append();
    }
    first_best_of_own_class(sliding_.sources(z, needed), codes(z) + layout_.centre(), own_code_,
                            static_cast<Tap>(geometry_.centre_tap()), layout_.own_places(),
                            penalized, winners);
  }

 private:
  const Geometry& geometry_;
  const Tile& tile_;
  const PlaneLayout& layout_;
  PlaneReduction<Format, Tap> reduction_;
  SlidingPlanes<Key, Tap> sliding_;
  const Key* logits_ = nullptr;
  std::array<int64_t, kAxes> strides_{};
  uint8_t own_code_ = 0;
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
