// The logits at the winners of a row of pixels, which are the penalized logits again.
//
// They are read from a ring of the planes that the windows reach, into which every plane of the
// tile is copied once, as numbers in contiguous rows: winners lead anywhere in a window, and the
// rows of a large tensor can lie so far apart that they displace each other from the caches.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../scatter/winner_offsets-inl.h"
#include "../scatter/winners.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"
#include "kept_halo-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class T>
class LogitsAtWinners {
  using Real = Accumulator<T>;

 public:
  // pixels: those whose winners are looked up, in all classes of one image. halo: the logits that
  // may be overwritten meanwhile, or nullptr.
  LogitsAtWinners(Scratch& scratch, FloatType type, WinnerType winner_type,
                  const Geometry& geometry, const View<const char>& logits, int64_t image,
                  const std::array<Span, kAxes>& pixels, const KeptHalo<T>* halo)
      : type_(type),
        winner_type_(winner_type),
        geometry_(geometry),
        logits_(logits),
        image_(image),
        pixels_(pixels),
        halo_(halo) {
    for (int axis = 0; axis < kAxes; ++axis) {
      reached_[axis] = pixels[axis].grown(geometry.reach(axis), geometry.size[axis]);
    }
    depth_ = 2 * geometry.reach(kOuter) + 1;
    row_length_ = reached_[kInner].length();
    plane_length_ = reached_[kMiddle].length() * row_length_;
    class_length_ = depth_ * plane_length_;
    ring_ = scratch.array<Real>(geometry.channels * class_length_);
    next_ = reached_[kOuter].begin;
    if (geometry.taps() <= 1024) {
      offsets_.emplace(scratch, geometry, winner_type);
    }
  }

  // Begins plane z. Planes come in ascending order.
  void start_plane(int64_t z) {
    for (; next_ < std::min(z + geometry_.reach(kOuter) + 1, reached_[kOuter].end); ++next_) {
      for (int64_t k = 0; k < geometry_.channels; ++k) {
        for (int64_t y = reached_[kMiddle].begin; y < reached_[kMiddle].end; ++y) {
          copy_row(k, next_, y);
        }
      }
    }
    known_ = false;
  }
  // Begins row (z, y).
  void start_row(int64_t z, int64_t y) {
    if (offsets_) {
      find_offsets(z, y);
    }
  }

  // Prefetches, while row (z, y) is worked on, its share of the plane that is copied next.
  void fetch_row_ahead(int64_t z, int64_t y) const {
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      fetch_ahead(tensor_row(k, z + geometry_.reach(kOuter) + 1, y), row_length_,
                  logits_.axis[kInner]);
    }
  }

  // Writes to `out`, [pixels of a row], the logits of class k at the pixels' winners.
  void read(int64_t k, int64_t z, int64_t y, const void* winners, Real* out) const {
    with_winner_type(winner_type_, [&]<class Winner>(Winner /*type*/) {
      read_row(k, z, y, static_cast<const Winner*>(winners), out);
    });
  }
  // Returns the logits of the pixels themselves: [pixels of a row].
  const Real* at_pixels(int64_t k, int64_t z, int64_t y) const {
    return ring_ + k * class_length_ + slot(z) * plane_length_ + index(y, pixels_[kInner].begin);
  }

 private:
  const T* tensor_row(int64_t k, int64_t z, int64_t y) const {
    return reinterpret_cast<const T*>(logits_.data) +
           logits_.offset(image_, k, z, y, reached_[kInner].begin);
  }
  void copy_row(int64_t k, int64_t z, int64_t y) {
    Real* row =
        ring_ + k * class_length_ + slot(z) * plane_length_ + index(y, reached_[kInner].begin);
    if (halo_ != nullptr) {
      halo_->read_row(k, z, y, row);
    } else {
      widen_row(type_, tensor_row(k, z, y), logits_.axis[kInner], row_length_, row);
    }
  }

  int64_t slot(int64_t z) const {
    return (z - reached_[kOuter].begin) % depth_;
  }
  // The index of a pixel within a plane.
  int64_t index(int64_t y, int64_t x) const {
    return (y - reached_[kMiddle].begin) * row_length_ + x - reached_[kInner].begin;
  }
  // The offset of a pixel's neighbour in the ring, from where the pixel is in its first plane.
  int64_t offset(int64_t z, const Displacement& by) const {
    return slot(z + by.axis[kOuter]) * plane_length_ + by.axis[kMiddle] * row_length_ +
           by.axis[kInner];
  }

  // The displacements along an axis that stay inside the image.
  Span inside(int64_t at, int axis) const {
    const int64_t reach = geometry_.reach(axis);
    return {std::max(-reach, -at), std::min(reach, geometry_.size[axis] - 1 - at) + 1};
  }
  static bool same(Span a, Span b) {
    return a.begin == b.begin && a.end == b.end;
  }
  static bool holds(Span span, int64_t value) {
    return span.begin <= value && value < span.end;
  }

  void find_offsets(int64_t z, int64_t y) {
    const Span rows = inside(y, kMiddle);
    if (known_ && same(rows, rows_)) {
      return;
    }
    known_ = true;
    rows_ = rows;
    const Span planes = inside(z, kOuter);
    pixel_offset_ = slot(z) * plane_length_;
    // No forward pass names a row outside of the image; the pixel itself stands for it.
    const auto of_row = [&](int64_t outer, int64_t middle) {
      return holds(planes, outer) && holds(rows, middle) ? offset(z, {{outer, middle, 0}})
                                                         : pixel_offset_;
    };
    offsets_->find(of_row, pixel_offset_);
  }
  // What is done at a pixel, from the first one on.
  struct Reading {
    const Real* row;
    Real* out;

    SCNP_ALWAYS_INLINE void operator()(int64_t i, int64_t offset) const {
      out[i] = row[offset];
    }
    SCNP_ALWAYS_INLINE void advance(int64_t pixels) {
      row += pixels;
      out += pixels;
    }
  };
  template <class Winner>
  void read_row(int64_t k, int64_t z, int64_t y, const Winner* winners, Real* out) const {
    const Real* row = ring_ + k * class_length_ + index(y, pixels_[kInner].begin);
    const int64_t x = pixels_[kInner].begin;
    const int64_t count = pixels_[kInner].length();
    // Only near the border can a tap lead out of the row.
    const int64_t reach = geometry_.reach(kInner);
    const int64_t first = offsets_ ? std::clamp(reach - x, int64_t{0}, count) : count;
    const int64_t last = std::clamp(geometry_.size[kInner] - reach - x, first, count);
    for (int64_t i = 0; i < first; ++i) {
      out[i] = row[i + near_border(winners[i], z, y, x + i)];
    }
    if (first < last) {
      each_winner(winners + first, last - first, *offsets_, Reading{row + first, out + first});
    }
    for (int64_t i = last; i < count; ++i) {
      out[i] = row[i + near_border(winners[i], z, y, x + i)];
    }
  }
  // Returns the offset of a winner where taps can lead out of the row, or the window is too large
  // for a table.
  template <class Winner>
  int64_t near_border(Winner tap, int64_t z, int64_t y, int64_t x) const {
    const bool known = static_cast<uint64_t>(tap) < static_cast<uint64_t>(geometry_.taps());
    if (offsets_) {
      const int64_t across = static_cast<int64_t>(tap) % geometry_.window[kInner];
      return known && holds(inside(x, kInner), across - geometry_.window[kInner] / 2)
                 ? (*offsets_)[tap]
                 : pixel_offset_;
    }
    Displacement by{};
    if (known) {
      const Displacement wanted = displacement_of_tap(geometry_, static_cast<int64_t>(tap));
      const bool is_inside = holds(inside(z, kOuter), wanted.axis[kOuter]) &&
                             holds(inside(y, kMiddle), wanted.axis[kMiddle]) &&
                             holds(inside(x, kInner), wanted.axis[kInner]);
      by = is_inside ? wanted : by;
    }
    return offset(z, by);
  }

  const FloatType type_;
  const WinnerType winner_type_;
  const Geometry& geometry_;
  const View<const char>& logits_;
  int64_t image_;
  std::array<Span, kAxes> pixels_;
  const KeptHalo<T>* halo_;
  std::array<Span, kAxes> reached_;  // what their windows reach, inside the image
  int64_t depth_ = 0;
  int64_t row_length_ = 0;
  int64_t plane_length_ = 0;
  int64_t class_length_ = 0;
  Real* ring_ = nullptr;                  // [C, depth, reached middle, reached inner]
  int64_t next_ = 0;                      // the next plane to be copied
  std::optional<WinnerOffsets> offsets_;  // with few taps; the same for rows that are clipped alike
  int64_t pixel_offset_ = 0;              // for numbers that are no tap of the pixel
  bool known_ = false;
  Span rows_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
