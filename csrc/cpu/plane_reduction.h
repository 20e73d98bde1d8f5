// From the logits of one plane of a tile to its reduced plane: at every pixel
// and for both classes, the best candidate among the window's pixels in this
// plane.
//
//     logits, codes  -- make_keys -->  keys  -- row pass -->  rows  -- middle
//     pass -->  reduced plane
//                                                               (1D, 2D: the
//                                                               row pass is the
//                                                               last)
//
//     row pass     best of x-1, x, x+1      -> (key, tap x)
//     middle pass  best of y-1, y, y+1      -> (key, tap y, x)
//
//   Every pixel is a candidate of exactly one class: its key stands in that
//   class's plane, and "no candidate" in the other's.
#pragma once

#include "class_candidates.h"
#include "ordered_keys.h"
#include "pixel_codes.h"
#include "strided.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// From the bits of one block of logits to its candidates: a key for the pixel's
// own class, "no candidate" for the other; an invalid pixel is nobody's
// candidate.
template <class Format, class Key = typename Format::Bits>
inline void make_keys(const Key* logits, const uint8_t* codes, uint8_t own_code, Key* background,
                      Key* foreground) {
  SCNP_VECTORIZE
  for (int64_t i = 0; i < kBlock; ++i) {
    const bool own = codes[i] == own_code;
    const bool invalid = codes[i] == kInvalidPixel;
    const bool nan = is_nan<Format>(logits[i]);
    const Key key = ordered_key(logits[i]);
    const Key background_key = nan ? kNanKey<Key> : key;
    const Key foreground_key = nan ? kNanKey<Key> : static_cast<Key>(~key);
    // `|`, because `||` branches.
    background[i] = (own | invalid) ? kNoCandidate<Key> : background_key;
    foreground[i] = own ? foreground_key : kNoCandidate<Key>;
  }
}

template <class Format, class Tap>
class PlaneReduction {
  using Key = typename Format::Bits;
  using Both = BothClasses<Key, Tap>;

 public:
  PlaneReduction(Scratch& scratch, const Geometry& geometry, const PlaneLayout& layout)
      : geometry_(geometry),
        layout_(layout),
        row_(scratch.array<Key>(whole_blocks(layout.columns.length()))),
        keys_{scratch.array<Key>(layout.allocated()), scratch.array<Key>(layout.allocated())},
        reduced_rows_(scratch, 1, has_middle_pass() ? layout.allocated() : 0),
        spans_(scratch, 1, 2 * layout.reach[1] + 1 > 3 ? layout.allocated() : 0) {
    for (Key* keys : keys_) {
      std::fill_n(keys, layout.allocated(), kNoCandidate<Key>);
    }
  }

  // logits: of pixel (y, x) at y * strides[0] + x * strides[1]. codes: flat,
  // see PlaneLayout.
  void reduce(const Key* logits, std::array<int64_t, 2> strides, const uint8_t* codes,
              uint8_t own_code, const Both& out) {
    // In ascending order: behind its last pixel, a block may overwrite what the
    // next row writes anew.
    for (int64_t y = layout_.rows.begin; y < layout_.rows.end; ++y) {
      read_row(logits + y * strides[0] + layout_.columns.begin * strides[1], strides[1],
               layout_.place(y, layout_.columns.begin), codes, own_code);
    }
    const int64_t window = geometry_.window[kInner];
    const int64_t first_tap =
        (geometry_.window[kMiddle] / 2 - layout_.reach[0]) * window + window / 2 - layout_.reach[1];
    for (int c = 0; c < kClasses; ++c) {
      const PixelSource<Key, Tap> pixels{keys_[c], static_cast<Tap>(first_tap)};
      const auto rows = has_middle_pass() ? reduced_rows_.plane(0)[c] : out[c];
      const int64_t places = has_middle_pass() ? layout_.row_places() : layout_.own_places();
      first_best_of_rows(pixels, spans_.plane(0)[c], 2 * layout_.reach[1] + 1, 1, Tap{1}, places,
                         rows);
      if (has_middle_pass()) {
        first_best_of_rows(CandidateSource<Key, Tap>{rows.key, rows.tap, 0}, rows,
                           2 * layout_.reach[0] + 1, layout_.pitch, static_cast<Tap>(window),
                           layout_.own_places(), out[c]);
      }
    }
  }

 private:
  // Without neighbours along the middle axis (1D, 2D), the row pass is the
  // last.
  bool has_middle_pass() const {
    return layout_.reach[0] > 0;
  }

  void read_row(const Key* logits, int64_t stride, int64_t place, const uint8_t* codes,
                uint8_t own_code) {
    const int64_t length = layout_.columns.length();
    int64_t done = 0;
    if (stride == 1) {
      for (; done + kBlock <= length; done += kBlock) {
        make_keys_at(logits + done, place + done, codes, own_code);
      }
    }
    gather_row(logits + done * stride, stride, length - done, row_ + done);
    for (; done < length; done += kBlock) {
      make_keys_at(row_ + done, place + done, codes, own_code);
    }
  }
  void make_keys_at(const Key* logits, int64_t place, const uint8_t* codes, uint8_t own_code) {
    make_keys<Format>(logits, codes + place, own_code, keys_[kBackground] + place,
                      keys_[kForeground] + place);
  }

  const Geometry& geometry_;
  const PlaneLayout& layout_;
  Key* row_;                                // [columns], where logits are not contiguous or end
  std::array<Key*, kClasses> keys_;         // [places], of single pixels
  CandidatePlanes<Key, Tap> reduced_rows_;  // 1 plane, after the row pass (3D)
  CandidatePlanes<Key, Tap> spans_;         // 1 plane, for the row pass of large windows
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
