// From the logits of one plane of a tile to its reduced plane: at every pixel and for both classes,
// the best candidate among the window's pixels in this plane.
//
//     logits, codes  -- make_keys -->  keys  -- row pass -->  rows  -- middle pass -->  reduced
//                                                                (1D, 2D: it ends with the rows)
//
//     row pass     best of x-1, x, x+1      -> (key, tap x)           (a window of 3)
//     middle pass  best of y-1, y, y+1      -> (key, tap y, x)
//
// Every valid pixel is a candidate of exactly one class: its key stands in that class's plane, and
// "no candidate" in the other's. With windows of 3 the passes follow each other strip by strip, in
// the first cache; with larger ones, each goes through the whole plane, several times:
//
//     keys      ##########################                    rows that were read
//     rows      ####################                          two rows less: what the windows reach
//     reduced   ############                                  two rows less
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../tiling/class_codes-inl.h"
#include "../vector/ordered_keys-inl.h"
#include "class_candidates-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Makes candidates of the bits of one block of logits: a key in the pixel's class, "no candidate"
// in the other one. An invalid pixel is a candidate of neither.
template <class Key>
inline void make_keys(const Key* logits, const uint8_t* codes, uint8_t class_code,
                      Infinity<Key> infinity, Key* background, Key* foreground) {
#if SCNP_REGISTERS
  for (int64_t i = 0; i < kBlock; i += kPixels) {
    make_keys_of_block(logits + i, codes + i, class_code, infinity, background + i, foreground + i);
  }
  return;
#endif
  SCNP_VECTORIZE
  for (int64_t i = 0; i < kBlock; ++i) {
    const bool in_class = codes[i] == class_code;
    const bool invalid = codes[i] == kInvalidPixel;
    const bool nan = is_nan(logits[i], infinity);
    const Key key = ordered_key(logits[i]);
    const Key background_key = nan ? kNanKey<Key> : key;
    const Key foreground_key = nan ? kNanKey<Key> : static_cast<Key>(~key);
    // `|`, because `||` branches.
    background[i] = (in_class | invalid) ? kNoCandidate<Key> : background_key;
    foreground[i] = in_class ? foreground_key : kNoCandidate<Key>;
  }
}

template <class Key, class Tap>
class PlaneReduction {
  using Both = BothClasses<Key, Tap>;

 public:
  PlaneReduction(Scratch& scratch, const Geometry& geometry, const PlaneLayout& layout,
                 Infinity<Key> infinity)
      : geometry_(geometry),
        layout_(layout),
        infinity_(infinity),
        row_(scratch.array<Key>(whole_blocks(layout.columns.length()))),
        keys_{scratch.array<Key>(layout.allocated()), scratch.array<Key>(layout.allocated())},
        reduced_rows_(scratch, 1, has_middle_pass() ? layout.allocated() : 0),
        spans_(scratch, 1, 2 * layout.reach[1] + 1 > 3 ? layout.allocated() : 0) {
    for (Key* keys : keys_) {
      std::fill_n(keys, layout.allocated(), kNoCandidate<Key>);
    }
  }

  // Begins a plane. The logit of pixel (y, x) stands at y * strides[0] + x * strides[1]; codes are
  // flat, see PlaneLayout.
  void start(const Key* logits, std::array<int64_t, 2> strides, const uint8_t* codes,
             uint8_t class_code, const Both& out) {
    logits_ = logits;
    strides_ = strides;
    codes_ = codes;
    class_code_ = class_code;
    out_ = out;
    next_row_ = layout_.rows.begin;
    rows_end_ = 0;
    interior_end_ = 0;
  }

  // Continues until the interior up to index `end`, a whole number of blocks, is in `out`. What one
  // pass has just written is then still in the first cache when the next one reads it.
  void reduce(int64_t end) {
    const int64_t window = geometry_.window[kInner];
    const int64_t columns = 2 * layout_.reach[1] + 1;
    const int64_t rows = 2 * layout_.reach[0] + 1;
    if (columns > 3 || rows > 3) {
      end = layout_.interior_size();  // tripling overwrites what the next indices would need
    }
    if (end <= interior_end_) {
      return;
    }
    const int64_t rows_end =
        has_middle_pass() ? std::min(whole_blocks(end + 2 * layout_.reach[0] * layout_.pitch),
                                     layout_.rows_size())
                          : end;
    read_rows(rows_end + 2 * layout_.reach[1]);
    const int64_t first_tap = layout_.first_tap(geometry_);
    for (int c = 0; c < kClasses; ++c) {
      const PixelSource<Key, Tap> pixels{keys_[c], static_cast<Tap>(first_tap)};
      const auto reduced = has_middle_pass() ? reduced_rows_.plane(0)[c] : out_[c];
      first_best_of_rows(pixels.from(rows_end_), spans_.plane(0)[c], columns, 1, Tap{1},
                         rows_end - rows_end_, reduced.from(rows_end_));
      if (has_middle_pass()) {
        const auto from = reduced.from(interior_end_);
        first_best_of_rows(CandidateSource<Key, Tap>{from.key, from.tap, 0}, from, rows,
                           layout_.pitch, static_cast<Tap>(window), end - interior_end_,
                           out_[c].from(interior_end_));
      }
    }
    rows_end_ = rows_end;
    interior_end_ = end;
  }

 private:
  // Without neighbours along the middle axis (1D, 2D), the row pass is the last.
  bool has_middle_pass() const {
    return layout_.reach[0] > 0;
  }

  // Reads all rows that begin before index `end`, in ascending order: behind a row's last pixel, a
  // block may overwrite keys of the next row, which that row then writes again.
  void read_rows(int64_t end) {
    for (; next_row_ < layout_.rows.end; ++next_row_) {
      const int64_t index = layout_.index(next_row_, layout_.columns.begin);
      if (index >= end) {
        return;
      }
      read_row(logits_ + next_row_ * strides_[0] + layout_.columns.begin * strides_[1], index);
    }
  }
  void read_row(const Key* logits, int64_t index) {
    const int64_t length = layout_.columns.length();
    const int64_t stride = strides_[1];
    int64_t done = 0;
    if (stride == 1) {
      for (; done + kBlock <= length; done += kBlock) {
        make_keys_at(logits + done, index + done);
      }
    }
    gather_row(logits + done * stride, stride, length - done, row_ + done);
    for (; done < length; done += kBlock) {
      make_keys_at(row_ + done, index + done);
    }
  }
  void make_keys_at(const Key* logits, int64_t index) {
    make_keys(logits, codes_ + index, class_code_, infinity_, keys_[kBackground] + index,
              keys_[kForeground] + index);
  }

  const Geometry& geometry_;
  const PlaneLayout& layout_;
  const Infinity<Key> infinity_;
  Key* row_;  // [columns], for logits that are not contiguous, and for a row's end
  std::array<Key*, kClasses> keys_;         // [layout.allocated()], of single pixels
  CandidatePlanes<Key, Tap> reduced_rows_;  // 1 plane, after the row pass (3D)
  CandidatePlanes<Key, Tap> spans_;         // 1 plane, for the row pass of large windows

  // The plane that is being reduced:
  const Key* logits_ = nullptr;
  std::array<int64_t, 2> strides_{};
  const uint8_t* codes_ = nullptr;  // flat
  uint8_t class_code_ = 0;
  Both out_{};                // [interior] of both classes
  int64_t next_row_ = 0;      // the next to be read
  int64_t rows_end_ = 0;      // the row pass has come to this index
  int64_t interior_end_ = 0;  // `out` is complete up to this index
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
