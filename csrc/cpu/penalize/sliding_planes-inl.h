// The window along the outer axis: which planes are kept while a tile marches, and from which
// sources the best of a window is found. However large the window, there are at most three.
//
//   window of 3 planes or fewer: the planes themselves
//
//   larger: a queue of two parts. The front holds, at each plane, the best from there to the
//   front's end; the back's planes are merged, as they come, into one running best:
//
//       z-2    z-1    z   |  z+1   z+2      window of z: front at z-2, and the back's best
//       abc     bc    c   |   d    d+e
//            front        |    back
//
//   When the window has left the front, the back becomes the front: about two merges per plane.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tiles.h"
#include "class_candidates-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class Key, class Tap>
class SlidingPlanes {
  using Both = BothClasses<Key, Tap>;
  using Source = CandidateSource<Key, Tap>;

 public:
  using Sources = std::array<std::array<Source, 3>, kClasses>;

  // size: of a plane.
  SlidingPlanes(Scratch& scratch, const Geometry& geometry, int64_t size)
      : geometry_(geometry),
        size_(size),
        depth_(2 * geometry.reach(kOuter) + 1),
        planes_(scratch, depth_, size),
        back_(scratch, 1, depth_ > 3 ? size : 0) {
  }

  void start(int64_t first_plane) {
    next_ = first_plane;
    front_end_ = first_plane;
  }
  // The caller writes plane next() into plane(), and then appends it.
  int64_t next() const {
    return next_;
  }
  Both plane() const {
    return planes_.plane(next_ % depth_);
  }
  void append() {
    if (!sources_are_planes()) {
      merge_into_back(next_);
    }
    ++next_;
  }

  // Whether the sources are the planes themselves. The last one may then be read while it is
  // written.
  bool sources_are_planes() const {
    return depth_ <= 3;
  }
  // Returns the sources of the window around plane z; `needed` is the window clipped to the image.
  Sources sources(int64_t z, Span needed) {
    Sources sources;
    if (sources_are_planes()) {
      for (int c = 0; c < kClasses; ++c) {
        sources[c] = {at(needed.begin, z, c), at(std::min(needed.begin + 1, needed.end - 1), z, c),
                      at(needed.end - 1, z, c)};
      }
      return sources;
    }
    if (needed.begin >= front_end_) {
      back_becomes_front(needed);
    }
    for (int c = 0; c < kClasses; ++c) {
      const Source front = at(needed.begin, z, c);
      const auto back = back_.plane(0)[c];
      const bool has_back = front_end_ < needed.end;
      const Source second = has_back ? Source{back.key, back.tap, base(front_end_, z)} : front;
      sources[c] = {front, second, second};
    }
    return sources;
  }

 private:
  // The first tap of plane `of` in the window around plane z.
  Tap base(int64_t of, int64_t z) const {
    return static_cast<Tap>(geometry_.first_tap_of_plane(of - z));
  }
  Source at(int64_t of, int64_t z, int c) const {
    const auto plane = planes_.plane(of % depth_)[c];
    return {plane.key, plane.tap, base(of, z)};
  }
  Source displaced(int64_t of, int64_t planes, int c) const {
    const auto plane = planes_.plane(of % depth_)[c];
    return {plane.key, plane.tap, static_cast<Tap>(planes * geometry_.taps_of_plane())};
  }

  void merge_into_back(int64_t plane) {
    for (int c = 0; c < kClasses; ++c) {
      const auto back = back_.plane(0)[c];
      const Source merged =
          plane == front_end_ ? displaced(plane, 0, c) : Source{back.key, back.tap, 0};
      first_best(size_, back, merged, displaced(plane, plane - front_end_, c));
    }
  }
  void back_becomes_front(Span needed) {
    for (int64_t plane = needed.end - 2; plane >= needed.begin; --plane) {
      for (int c = 0; c < kClasses; ++c) {
        first_best(size_, planes_.plane(plane % depth_)[c], displaced(plane, 0, c),
                   displaced(plane + 1, 1, c));
      }
    }
    front_end_ = needed.end;
  }

  const Geometry& geometry_;
  int64_t size_;
  int64_t depth_;
  CandidatePlanes<Key, Tap> planes_;  // [depth], a ring
  CandidatePlanes<Key, Tap> back_;    // 1 plane, taps counted from plane front_end_
  int64_t next_ = 0;
  int64_t front_end_ = 0;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
