// Eq. 1 for windows of any size, pass by pass.
//
//     logits, codes                       planes of the window (window 3)     penalized, winners
//
//     plane z+1  --- plane reduction --->   z+1  --,
//       .                                   z    --+-- outer pass, picks   -->   plane z
//       .                                   z-1  --'   the pixel's class
//
// Each pass visits its sources in ascending order and replaces only on strict `>`, so the winner is
// the first in raster order.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"
#include "penalized_planes-inl.h"
#include "plane_reduction-inl.h"
#include "sliding_planes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// The last pass over three sources, in which every pixel looks at its own class: writes the bits of
// the winning logit, and the winner's tap. Sources of the two classes are displaced alike.
template <class Key, class Tap>
inline void first_best_of_class(const CandidateSource<Key, Tap> (&background)[3],
                                const CandidateSource<Key, Tap> (&foreground)[3],
                                const uint8_t* codes, uint8_t class_code, Tap centre_tap,
                                const PlaneResults<Key>& results, int64_t block) {
#if SCNP_REGISTERS
  if constexpr (sizeof(Tap) == 1) {
    for (int64_t i = 0; i < kBlock; i += kPixels) {
      const ClassMask<Key> in_class(codes + i, class_code);
      BestOfBlock<Key> best(background[0].from(i), foreground[0].from(i), in_class);
      best.replace_if_better(background[1].from(i), foreground[1].from(i), in_class);
      if (background[2].key != background[1].key) {
        best.replace_if_better(background[2].from(i), foreground[2].from(i), in_class);
      }
      best.store_logits(in_class, pixels_with(codes + i, kInvalidPixel), centre_tap,
                        BlockResults<Key>(results), block + i);
    }
    return;
  }
#endif
  // Copies: a store to bytes may change anything that lies behind a reference.
  Key* const logits = results.penalized + block;
  Tap* const winners = static_cast<Tap*>(results.winners) + block;
  const auto background_a = background[0], background_b = background[1],
             background_c = background[2];
  const auto foreground_a = foreground[0], foreground_b = foreground[1],
             foreground_c = foreground[2];
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
    const bool in_class = codes[i] == class_code;
    best = in_class ? static_cast<Key>(~foreground_best) : best;
    tap = blend(blend(tap, foreground_tap, lane_mask<Tap>(in_class)), centre_tap,
                lane_mask<Tap>(codes[i] == kInvalidPixel));
    logits[i] = flip_negative(best);
    winners[i] = tap;
  }
}

template <class Key, class Winner>
class AnyWindow final : public PenalizedPlanes<Key> {
  using Tap = Winner;  // counted while a window is searched

 public:
  AnyWindow(Scratch& scratch, const Geometry& geometry, const Tile& tile, const PlaneLayout& layout,
            Infinity<Key> infinity)
      : geometry_(geometry),
        tile_(tile),
        layout_(layout),
        reduction_(scratch, geometry, layout, infinity),
        sliding_(scratch, geometry, layout.interior_size()) {
  }

  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t class_code) override {
    logits_ = logits;
    strides_ = {strides[kOuter], strides[kMiddle], strides[kInner]};
    class_code_ = class_code;
    sliding_.start(tile_.span[kOuter].grown(geometry_.reach(kOuter), geometry_.size[kOuter]).begin);
  }

  void plane(int64_t z, const TileCodes& codes, const PlaneResults<Key>& all_results) override {
    const Span needed = Span{z, z + 1}.grown(geometry_.reach(kOuter), geometry_.size[kOuter]);
    // The last plane is reduced in step with the last pass, where that takes planes as they are.
    const int64_t in_step = sliding_.sources_are_planes() ? 1 : 0;
    while (sliding_.next() < needed.end - in_step) {
      start_reduction(codes);
      reduction_.reduce(layout_.interior_size());
      sliding_.append();
    }
    const bool reduces = sliding_.next() < needed.end;
    if (reduces) {
      start_reduction(codes);
    }
    const auto sources = sliding_.sources(z, needed);
    const uint8_t* interior_codes = codes(z) + layout_.centre();
    const Key* ahead = start_of_plane(std::min(needed.end, geometry_.size[kOuter] - 1));
    constexpr int64_t strip = kPixelsInFirstCache<Key>;
    // Copies: a store to bytes may change anything that lies behind a pointer.
    const PlaneResults<Key> results = all_results;
    const int64_t size = layout_.interior_size();
    const int64_t stride = strides_[kInner];
    const uint8_t class_code = class_code_;
    const auto centre_tap = static_cast<Tap>(geometry_.centre_tap());
    for (int64_t begin = 0; begin < size; begin += strip) {
      const int64_t end = std::min(begin + strip, size);
      if (reduces) {
        reduction_.reduce(end);
      }
      for (int64_t block = begin; block < end; block += kBlock) {
        // Prefetches the next plane, block by block: many requests at once would wait.
        fetch_ahead(ahead + block * stride, kBlock);
        const auto& background = sources[kBackground];
        const auto& foreground = sources[kForeground];
        first_best_of_class<Key, Tap>(
            {background[0].from(block), background[1].from(block), background[2].from(block)},
            {foreground[0].from(block), foreground[1].from(block), foreground[2].from(block)},
            interior_codes + block, class_code, centre_tap, results, block);
      }
    }
    if (reduces) {
      sliding_.append();
    }
  }
  bool may_stream(const Key* penalized) const override {
    return SCNP_REGISTERS && sizeof(Winner) == 1 && begins_with_line(penalized);
  }

 private:
  const Key* start_of_plane(int64_t z) const {
    return logits_ + z * strides_[kOuter] + layout_.interior_rows.begin * strides_[kMiddle] +
           layout_.interior_columns.begin * strides_[kInner];
  }
  void start_reduction(const TileCodes& codes) {
    const int64_t next = sliding_.next();
    reduction_.start(logits_ + next * strides_[kOuter], {strides_[kMiddle], strides_[kInner]},
                     codes(next), class_code_, sliding_.plane());
  }

  const Geometry& geometry_;
  const Tile& tile_;
  const PlaneLayout& layout_;
  PlaneReduction<Key, Tap> reduction_;
  SlidingPlanes<Key, Tap> sliding_;
  const Key* logits_ = nullptr;
  std::array<int64_t, kAxes> strides_{};
  uint8_t class_code_ = 0;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
