// Eq. 1 for 2D windows of five to fifteen rows and columns. What costs time in large windows is
// storing what one pass hands the next; here that is two stores per pixel and class: the best of
// its row, and the best of three rows.
//
//     logits, codes of row n          two rows      spans of three rows        penalized, winners
//
//     a block: keys of one class        n-2  --,      n-2   <--+-----------,
//       -> best of 3 columns            n-1  --+--->  n-2      |    the    |
//       -> best of all columns          n    --'      ...      |  class's  +-->   row z = n - r
//                                       |             z-r+3    |  best     |
//                                       stored        z-r    --+-----------'
//                                       over n-2
//
// A window is covered by spans that may overlap: what is looked at twice changes nothing.
//
//     11 rows or columns     ...........
//     as spans of three      012345678..
//                                    012
#pragma once

#include "../targets/prologue_registers.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"
#include "penalized_planes-inl.h"
#include "three_columns-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// How many spans of three cover a window, and where the k-th begins.
constexpr int64_t spans_of_window(int64_t window) {
  return (window + 2) / 3;
}
constexpr int64_t start_of_span(int64_t window, int64_t k) {
  return std::min(3 * k, window - 3);
}

// The best of every pixel of a row and the window - 1 pixels behind it, for one class. kWindow: the
// window where it is a constant, otherwise 0.
template <class Key, bool kMayBeRare, int kClass, int kWindow>
class WindowOfColumns {
  using Best = BestOfBlock<Key>;
  using Columns = ThreeColumns<Key, kMayBeRare>;

 public:
  SCNP_ALWAYS_INLINE WindowOfColumns(const Columns& columns, int64_t window)
      : columns_(columns), window_(kWindow > 0 ? kWindow : window), here_(next_spans(0)) {
  }
  // Finds the best for a block's pixels from `index` on. Blocks come in ascending order, from 0 on.
  SCNP_ALWAYS_INLINE Best next_block(int64_t index) {
    const Best next = next_spans(index + kPixels);
    Best best = here_;
    join_spans(best, next);
    here_ = next;
    return best;
  }
  bool found_rare() const {
    return columns_.found_rare();
  }

 private:
  // Takes what is found of one class. The compiler drops what is found of the other.
  struct OneClass {
    Best best;

    SCNP_ALWAYS_INLINE void keys(int r, const Register* background, const Register* foreground) {
      best.set_keys(r, kClass == kBackground ? background : foreground);
    }
    SCNP_ALWAYS_INLINE void taps(Register background, Register foreground) {
      best.set_taps(kClass == kBackground ? background : foreground);
    }
  };
  SCNP_ALWAYS_INLINE Best next_spans(int64_t index) {
    OneClass spans;
    columns_.next_block(index, spans);
    return spans.best;
  }
  // Joins all spans but the first, in ascending order: those at 3, 6 and 9, as far as they are not
  // the last, and the last one.
  SCNP_ALWAYS_INLINE void join_spans(Best& best, const Best& next) const {
    if (window_ >= 7) {
      join<3>(best, next);
    }
    if (window_ >= 11) {
      join<6>(best, next);
    }
    if (window_ >= 13) {
      join<9>(best, next);
    }
    switch (window_) {
      case 5:
        return join<2>(best, next);
      case 7:
        return join<4>(best, next);
      case 9:
        return join<6>(best, next);
      case 11:
        return join<8>(best, next);
      case 13:
        return join<10>(best, next);
      default:
        return join<12>(best, next);
    }
  }
  template <int kStart>
  SCNP_ALWAYS_INLINE void join(Best& best, const Best& next) const {
    best.template replace_by_later_if_better<kStart>(here_, next);
  }

  Columns columns_;
  const int64_t window_;
  Best here_;  // spans of the next block
};

// Also serves 3D images of height 1, whose planes then play the role of rows.
template <class Key>
class Window5To15In2D final : public PenalizedPlanes<Key> {
  using Best = BestOfBlock<Key>;
  using Source = CandidateSource<Key, uint8_t>;

 public:
  static bool serves(const Geometry& geometry, const PlaneLayout& layout) {
    const auto is_served = [](int64_t reach) { return 2 <= reach && reach <= kLargest / 2; };
    return is_served(geometry.reach(kOuter)) && is_served(layout.reach[1]) &&
           layout.reach[0] == 0 && layout.interior_rows.length() == 1;
  }

  Window5To15In2D(Scratch& scratch, const Geometry& geometry, const Tile& tile,
                  const PlaneLayout& layout, Infinity<Key> infinity)
      : geometry_(geometry),
        layout_(layout),
        reach_(geometry.reach(kOuter)),
        first_row_(tile.span[kOuter].grown(reach_, geometry.size[kOuter]).begin),
        logits_(scratch, geometry, layout, infinity),
        rows_(scratch, 2, layout.interior_size()),
        spans_(scratch, 2 * reach_ - 1, layout.interior_size()) {
  }

  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t class_code) override {
    logits_.start(logits, strides, class_code);
    next_ = first_row_;
    for (int row = 0; row < 2; ++row) {
      for (const auto& candidates : rows_.plane(row)) {
        std::fill_n(candidates.key, layout_.interior_size(), kNoCandidate<Key>);
      }
    }
  }

  void plane(int64_t z, const TileCodes& codes, const PlaneResults<Key>& results) override {
    const int64_t rows = geometry_.size[kOuter];
    // Spans begin with rows of the image, and end up to two rows behind it.
    for (; next_ <= std::min(z + reach_, rows + 1); ++next_) {
      if (next_ < rows) {
        reduce(codes);
      } else {
        close_span();
      }
    }
    choose(z, codes(z) + layout_.centre(), BlockResults<Key>(results));
  }
  bool prefetches_codes() const override {
    return true;
  }
  bool may_stream(const Key* penalized) const override {
    return begins_with_line(penalized);
  }

 private:
  static constexpr int64_t kLargest = 15;

  void reduce(const TileCodes& codes) {
    switch (layout_.reach[1]) {
      case 2:
        return reduce<5>(codes);
      case 3:
        return reduce<7>(codes);
      case 4:
        return reduce<9>(codes);
      case 5:
        return reduce<11>(codes);
      case 6:
        return reduce<13>(codes);
      case 7:
        return reduce<15>(codes);
    }
  }
  template <int kWindow>
  void reduce(const TileCodes& codes) {
    if (reduce<true, kBackground, kWindow>(codes)) {
      reduce<true, kForeground, 0>(codes);  // rare, so one function serves all windows
    } else {
      reduce<false, kForeground, kWindow>(codes);
    }
  }
  // Returns whether there was a NaN or a negative zero in the row.
  template <bool kMayBeRare, int kClass, int kWindow>
  bool reduce(const TileCodes& codes) {
    WindowOfColumns<Key, kMayBeRare, kClass, kWindow> columns(
        logits_.template three_columns<kMayBeRare>(next_, layout_.interior_rows.begin,
                                                   codes(next_)),
        2 * layout_.reach[1] + 1);
    const auto two_before = rows_.plane(next_ % 2)[kClass];
    const auto before = rows_.plane((next_ + 1) % 2)[kClass];
    const auto span = span_that_ends(next_)[kClass];
    const uint8_t row = taps_per_row();
    const int64_t size = layout_.interior_size();
    const auto ahead = logits_.ahead(std::min(next_ + 1, geometry_.size[kOuter] - 1));
    for (int64_t block = 0; block < size; block += kPixels) {
      if (kClass == kBackground && block % kBlock == 0) {
        ahead.fetch(block);
        codes.fetch_ahead_of_reading(next_ + 1, layout_.columns.begin + block, kBlock);
      }
      const Best newest = columns.next_block(block);
      Best best(Source{two_before.key + block, two_before.tap + block, 0});
      best.replace_if_better(Source{before.key + block, before.tap + block, row});
      best.replace_if_better(newest, 2 * row);
      newest.store(two_before.key + block, two_before.tap + block);
      best.store(span.key + block, span.tap + block);
    }
    return columns.found_rare();
  }
  // Writes the span that would end with row next_, behind the image.
  void close_span() {
    const int64_t last = geometry_.size[kOuter] - 1;
    for (int c = 0; c < kClasses; ++c) {
      const auto two_before = rows_.plane(next_ % 2)[c];
      const auto before = rows_.plane((next_ + 1) % 2)[c];
      const Source first{two_before.key, two_before.tap, 0};
      const Source second{before.key, before.tap, taps_per_row()};
      first_best(layout_.interior_size(), span_that_ends(next_)[c], first,
                 next_ - 1 <= last ? second : first);
    }
  }

  void choose(int64_t z, const uint8_t* interior_codes, const BlockResults<Key> results) const {
    Source background[spans_of_window(kLargest)];
    Source foreground[spans_of_window(kLargest)];
    const int64_t window = 2 * reach_ + 1;
    int64_t count = 0;
    for (int64_t k = 0; k < spans_of_window(window); ++k) {
      const int64_t first = z - reach_ + start_of_span(window, k);
      if (first + 2 < first_row_ || first >= geometry_.size[kOuter]) {
        continue;
      }
      const auto span = span_that_ends(first + 2);
      const auto displacement = static_cast<uint8_t>(geometry_.first_tap_of_plane(first - z));
      background[count] = {span[kBackground].key, span[kBackground].tap, displacement};
      foreground[count] = {span[kForeground].key, span[kForeground].tap, displacement};
      ++count;
    }
    const auto centre_tap = static_cast<uint8_t>(geometry_.centre_tap());
    const uint8_t class_code = logits_.class_code();
    for (int64_t block = 0; block < layout_.interior_size(); block += kPixels) {
      const ClassMask<Key> in_class(interior_codes + block, class_code);
      Best best(background[0].from(block), foreground[0].from(block), in_class);
      for (int64_t k = 1; k < count; ++k) {
        best.replace_if_better(background[k].from(block), foreground[k].from(block), in_class);
      }
      best.store_logits(in_class, pixels_with(interior_codes + block, kInvalidPixel), centre_tap,
                        results, block);
    }
  }

  // The distance from a tap to the same tap of the next row (or plane, in 3D images of height 1).
  uint8_t taps_per_row() const {
    return static_cast<uint8_t>(geometry_.taps_of_plane());
  }
  BothClasses<Key, uint8_t> span_that_ends(int64_t row) const {
    return spans_.plane(row % (2 * reach_ - 1));
  }

  const Geometry& geometry_;
  const PlaneLayout& layout_;
  const int64_t reach_;
  const int64_t first_row_;
  LogitRows<Key> logits_;
  CandidatePlanes<Key, uint8_t> rows_;   // the last two rows
  CandidatePlanes<Key, uint8_t> spans_;  // each of three rows
  int64_t next_ = 0;                     // the next row to be reduced
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
