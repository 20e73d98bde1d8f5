// The logits at the winners of a row of pixels: the penalized logits again.
//
// Read from a ring of the planes that the windows reach, as numbers in contiguous rows, into which
// every plane of the tile is copied once: winners lead anywhere in a window, and the rows of a
// large tensor can lie so far apart that they displace each other from the caches.
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

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class T>
class LogitsAtWinners {
  using Real = Accumulator<T>;

 public:
  // pixels: those whose winners are asked for, of all classes of one image.
  LogitsAtWinners(Scratch& scratch, FloatType type, WinnerType winner_type,
                  const Geometry& geometry, const View<const char>& logits, int64_t image,
                  const std::array<Span, kAxes>& pixels)
      : type_(type),
        winner_type_(winner_type),
        geometry_(geometry),
        logits_(logits),
        image_(image),
        pixels_(pixels) {
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

  // Before the pixels of plane z are asked for, in ascending order of z.
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
  // Before the pixels of row (z, y) are.
  void start_row(int64_t z, int64_t y) {
    if (offsets_) {
      find_offsets(z, y);
    }
  }

  // While the pixels of row (z, y) are worked on: the plane that is copied next.
  void fetch_row_ahead(int64_t z, int64_t y) const {
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      fetch_ahead(tensor_row(k, z + geometry_.reach(kOuter) + 1, y), row_length_,
                  logits_.axis[kInner]);
    }
  }

  // out: [pixels of a row], of class k. winners: of the same pixels.
  void read(int64_t k, int64_t z, int64_t y, const void* winners, Real* out) const {
    with_winner_type(winner_type_, [&]<class Winner>(Winner /*type*/) {
      read_row(k, z, y, static_cast<const Winner*>(winners), out);
    });
  }
  // The pixels' own logits: [pixels of a row].
  const Real* own(int64_t k, int64_t z, int64_t y) const {
    return ring_ + k * class_length_ + slot(z) * plane_length_ + place(y, pixels_[kInner].begin);
  }

 private:
  const T* tensor_row(int64_t k, int64_t z, int64_t y) const {
    return reinterpret_cast<const T*>(logits_.data) +
           logits_.offset(image_, k, z, y, reached_[kInner].begin);
  }
  void copy_row(int64_t k, int64_t z, int64_t y) {
    widen_row(
        type_, tensor_row(k, z, y), logits_.axis[kInner], row_length_,
        ring_ + k * class_length_ + slot(z) * plane_length_ + place(y, reached_[kInner].begin));
  }

  int64_t slot(int64_t z) const {
    return (z - reached_[kOuter].begin) % depth_;
  }
  // Within a plane.
  int64_t place(int64_t y, int64_t x) const {
    return (y - reached_[kMiddle].begin) * row_length_ + x - reached_[kInner].begin;
  }
  // From a pixel of plane z, counted in the ring's first plane.
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
    own_offset_ = slot(z) * plane_length_;
    // A row that lies outside of the image is no forward pass's; the pixel's own stands for it.
    const auto of_row = [&](int64_t outer, int64_t middle) {
      return holds(planes, outer) && holds(rows, middle) ? offset(z, {{outer, middle, 0}})
                                                         : own_offset_;
    };
    offsets_->find(of_row, own_offset_);
  }
  template <class Winner>
  void read_row(int64_t k, int64_t z, int64_t y, const Winner* winners, Real* out) const {
    const Real* row = ring_ + k * class_length_ + place(y, pixels_[kInner].begin);
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
      each_place(winners + first, last - first, *offsets_,
                 [row = row + first, out = out + first](int64_t i, int64_t place) {
                   out[i] = row[place];
                 });
    }
    for (int64_t i = last; i < count; ++i) {
      out[i] = row[i + near_border(winners[i], z, y, x + i)];
    }
  }
  // The same where a tap can lead out of the row, or the window is too large for a table.
  template <class Winner>
  int64_t near_border(Winner tap, int64_t z, int64_t y, int64_t x) const {
    const bool known = static_cast<uint64_t>(tap) < static_cast<uint64_t>(geometry_.taps());
    if (offsets_) {
      const int64_t across = static_cast<int64_t>(tap) % geometry_.window[kInner];
      return known && holds(inside(x, kInner), across - geometry_.window[kInner] / 2)
                 ? (*offsets_)[tap]
                 : own_offset_;
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
  std::array<Span, kAxes> reached_;  // by the pixels' windows, inside the image
  int64_t depth_ = 0;
  int64_t row_length_ = 0;
  int64_t plane_length_ = 0;
  int64_t class_length_ = 0;
  Real* ring_ = nullptr;                  // [C, depth, reached middle, reached inner]
  int64_t next_ = 0;                      // plane to be copied
  std::optional<WinnerOffsets> offsets_;  // with few taps: of rows clipped alike
  int64_t own_offset_ = 0;                // where a tap stands that leads nowhere
  bool known_ = false;
  Span rows_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
