// A copy of the logits around a tile, for a gradient that is written over the logits.
//
//     . . . . . . .      A tile reads the logits of its interior (#), each before it writes its
//     . k k k k k .      gradient there; the march along the outer axis sees to that. What it reads
//     . k # # # k .      beyond (k) lies in other tiles, which may have written theirs by then:
//     . k # # # k .      it is copied before any tile begins.
//     . k k k k k .
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/strided-inl.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// T: as a logit lies in memory.
template <class T>
class KeptHalo {
 public:
  // tile: of all classes of one image. reach: how far beyond the tile logits are read.
  KeptHalo(const Geometry& geometry, FloatType type, const View<const char>& logits,
           const Tile& tile, const std::array<int64_t, kAxes>& reach)
      : type_(type), logits_(logits), image_(tile.batch), channels_(geometry.channels) {
    for (int axis = 0; axis < kAxes; ++axis) {
      interior_[axis] = tile.span[axis];
      reached_[axis] = tile.span[axis].grown(reach[axis], geometry.size[axis]);
    }
    row_ = reached_[kInner].length();
    ends_of_row_ = row_ - interior_[kInner].length();
    plane_ = reached_[kMiddle].length() * row_;
    frame_of_plane_ = length(kMiddle, row_, ends_of_row_);
    class_ = length(kOuter, plane_, frame_of_plane_);
  }

  // The logits that save() writes.
  int64_t count() const {
    return channels_ * class_;
  }
  // Copies the halo to `memory`, [count()], which must stay.
  void save(T* memory) {
    memory_ = memory;
    for (int64_t k = 0; k < channels_; ++k) {
      for (int64_t z = reached_[kOuter].begin; z < reached_[kOuter].end; ++z) {
        for (int64_t y = reached_[kMiddle].begin; y < reached_[kMiddle].end; ++y) {
          T* kept = row_of(k, z, y);
          if (!inside(z, y)) {
            copy(k, z, y, reached_[kInner], kept);
            continue;
          }
          copy(k, z, y, before(), kept);
          copy(k, z, y, after(), kept + before().length());
        }
      }
    }
  }

  // Writes row (z, y) of class k to `out`, as numbers: all pixels that are reached.
  void read_row(int64_t k, int64_t z, int64_t y, Accumulator<T>* out) const {
    const T* kept = row_of(k, z, y);
    if (!inside(z, y)) {
      widen_row(type_, kept, 1, row_, out);
      return;
    }
    const Span middle = interior_[kInner];
    widen_row(type_, kept, 1, before().length(), out);
    widen_row(type_, in_tensor(k, z, y, middle.begin), logits_.axis[kInner], middle.length(),
              out + before().length());
    widen_row(type_, kept + before().length(), 1, after().length(),
              out + before().length() + middle.length());
  }

 private:
  Span before() const {
    return {reached_[kInner].begin, interior_[kInner].begin};
  }
  Span after() const {
    return {interior_[kInner].end, reached_[kInner].end};
  }
  static bool holds(Span span, int64_t value) {
    return span.begin <= value && value < span.end;
  }
  // Whether row (z, y) crosses the interior, so that only its two ends are kept.
  bool inside(int64_t z, int64_t y) const {
    return holds(interior_[kOuter], z) && holds(interior_[kMiddle], y);
  }

  // Returns where a plane or a row begins, if those in the interior have another size.
  int64_t begin_of(int axis, int64_t at, int64_t size, int64_t size_inside) const {
    const Span inside = interior_[axis];
    const int64_t crossed = std::clamp(at, inside.begin, inside.end) - inside.begin;
    return (at - reached_[axis].begin - crossed) * size + crossed * size_inside;
  }
  int64_t length(int axis, int64_t size, int64_t size_inside) const {
    return begin_of(axis, reached_[axis].end, size, size_inside);
  }
  T* row_of(int64_t k, int64_t z, int64_t y) const {
    T* plane = memory_ + k * class_ + begin_of(kOuter, z, plane_, frame_of_plane_);
    if (!holds(interior_[kOuter], z)) {
      return plane + (y - reached_[kMiddle].begin) * row_;
    }
    return plane + begin_of(kMiddle, y, row_, ends_of_row_);
  }

  const T* in_tensor(int64_t k, int64_t z, int64_t y, int64_t x) const {
    return reinterpret_cast<const T*>(logits_.data) + logits_.offset(image_, k, z, y, x);
  }
  void copy(int64_t k, int64_t z, int64_t y, Span columns, T* to) const {
    if (columns.length() > 0) {
      gather_row(in_tensor(k, z, y, columns.begin), logits_.axis[kInner], columns.length(), to);
    }
  }

  FloatType type_;
  View<const char> logits_;
  int64_t image_;
  int64_t channels_;
  std::array<Span, kAxes> interior_;
  std::array<Span, kAxes> reached_;  // with the halo, inside the image
  int64_t row_ = 0;                  // logits of a row that is kept whole
  int64_t ends_of_row_ = 0;          // of a row that crosses the interior
  int64_t plane_ = 0;                // of a plane that is kept whole
  int64_t frame_of_plane_ = 0;       // of a plane that crosses the interior
  int64_t class_ = 0;
  T* memory_ = nullptr;  // [C, class_]
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
