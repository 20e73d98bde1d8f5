// Eq. 1 for windows of three, the commonest, in AVX-512: what the passes of any_window-inl.h hand
// each other stays in registers, but for two reduced planes (and a strip of rows in 3D).
//
//     logits, codes of plane z+1           ring of two reduced planes           penalized, winners
//
//     64 pixels: keys of both classes         z-1  ----,
//       -> best of x-1, x, x+1                z    ----+-- best of the
//       -> in 3D, of y-1, y, y+1              z+1  ----'   class, 64 pixels -->      plane z
//                                             |
//                                             '-> stored where z-1 was: it is not read again
#pragma once

#include "../targets/prologue_avx512.h"

#include <algorithm>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"
#include "penalized_planes-inl.h"
#include "three_columns_avx512-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class Key>
class Window3 final : public PenalizedPlanes<Key> {
  using Best = BestOfBlock<Key>;
  using Source = CandidateSource<Key, uint8_t>;

 public:
  // Whether windows are three pixels wide along rows and planes, and one or three rows high.
  static bool serves(const Geometry& geometry, const PlaneLayout& layout) {
    return geometry.reach(kOuter) == 1 && layout.reach[1] == 1 &&
           (layout.reach[0] == 1 || (layout.reach[0] == 0 && layout.interior_rows.length() == 1));
  }

  Window3(Scratch& scratch, const Geometry& geometry, const Tile& tile, const PlaneLayout& layout,
          Infinity<Key> infinity)
      : geometry_(geometry),
        layout_(layout),
        first_plane_(tile.span[kOuter].grown(1, geometry.size[kOuter]).begin),
        logits_(scratch, geometry, layout, infinity),
        rows_(scratch, 1, has_rows() ? layout.allocated() : 0),
        planes_(scratch, 2, layout.interior_size()) {
    if (has_rows()) {
      forget_rows(rows_.plane(0), 0, layout.allocated());
    }
  }

  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t class_code) override {
    logits_.start(logits, strides, class_code);
    next_ = first_plane_;
  }

  void plane(int64_t z, const TileCodes& codes, const PlaneResults<Key>& results) override {
    for (; next_ <= z; ++next_) {
      reduce(codes, Keep{planes_.plane(next_ % 2)});
    }
    const uint8_t* interior_codes = codes(z) + layout_.centre();
    const int64_t above = std::max(z - 1, first_plane_);
    Choose choose{{at(above, z, kBackground), at(z, z, kBackground)},
                  {at(above, z, kForeground), at(z, z, kForeground)},
                  interior_codes,
                  logits_.class_code(),
                  static_cast<uint8_t>(geometry_.centre_tap()),
                  BlockResults<Key>(results)};
    if (next_ == geometry_.size[kOuter]) {
      for (int64_t block = 0; block < layout_.interior_size(); block += kBlock) {
        choose(block);
      }
      return;
    }
    reduce(codes, KeepAndChoose{planes_.plane(next_ % 2), displacement(z + 1, z), choose});
    ++next_;
  }
  bool may_stream(const Key* penalized) const override {
    return begins_with_line(penalized);
  }

 private:
  using Both = BothClasses<Key, uint8_t>;

  // What is done with 64 pixels of the newest plane.
  struct Keep {
    Both plane;

    SCNP_ALWAYS_INLINE void operator()(int64_t block, const Best& background,
                                       const Best& foreground) const {
      const auto store = [&](const Best& best, const Candidates<Key, uint8_t>& out) {
        best.store(out.key + block, out.tap + block);
      };
      store(background, plane[kBackground]);
      store(foreground, plane[kForeground]);
    }
  };
  // The last pass, over the two planes before the newest one and, where it exists, the newest.
  struct Choose {
    Source background[2];
    Source foreground[2];
    const uint8_t* interior_codes;
    uint8_t class_code;
    uint8_t centre_tap;
    BlockResults<Key> results;

    SCNP_ALWAYS_INLINE ClassMask<Key> class_mask(int64_t block) const {
      return {interior_codes + block, class_code};
    }
    SCNP_ALWAYS_INLINE Best of_planes(int64_t block, const ClassMask<Key>& in_class) const {
      Best best(background[0].from(block), foreground[0].from(block), in_class);
      best.replace_if_better(background[1].from(block), foreground[1].from(block), in_class);
      return best;
    }
    SCNP_ALWAYS_INLINE void write(int64_t block, const ClassMask<Key>& in_class,
                                  const Best& best) const {
      best.store_logits(in_class, pixels_with(interior_codes + block, kInvalidPixel), centre_tap,
                        results, block);
    }
    SCNP_ALWAYS_INLINE void operator()(int64_t block) const {
      const ClassMask<Key> in_class = class_mask(block);
      write(block, in_class, of_planes(block, in_class));
    }
  };
  struct KeepAndChoose {
    Both plane;
    uint8_t displacement;
    Choose choose;

    SCNP_ALWAYS_INLINE void operator()(int64_t block, const Best& background,
                                       const Best& foreground) const {
      const ClassMask<Key> in_class = choose.class_mask(block);
      Best best = choose.of_planes(block, in_class);
      best.replace_if_better(background, foreground, displacement, in_class);
      Keep{plane}(block, background, foreground);
      choose.write(block, in_class, best);
    }
  };

  // Reduces plane next_, block by block, and hands the blocks over.
  template <class Consumer>
  void reduce(const TileCodes& codes, const Consumer consumer) {
    const uint8_t* plane_codes = codes(next_);
    // Prefetches the plane after it, block by block: many requests at once would wait.
    const auto ahead = logits_.ahead(std::min(next_ + 1, geometry_.size[kOuter] - 1));
    const int64_t size = layout_.interior_size();
    if (!has_rows()) {
      auto columns = columns_of(plane_codes, layout_.interior_rows.begin);
      for (int64_t block = 0; block < size; block += kBlock) {
        ahead.fetch(block);
        Best background, foreground;
        columns.next_block(block, background, foreground);
        consumer(block, background, foreground);
      }
      return;
    }
    // Rows are reduced strip by strip, so that a strip stays in the first cache.
    constexpr int64_t strip = kPixelsInFirstCache<Key>;
    int64_t next_row = layout_.rows.begin;
    for (int64_t begin = 0; begin < size; begin += strip) {
      const int64_t end = std::min(begin + strip, size);
      next_row = reduce_rows(plane_codes, next_row, end + 2 * layout_.pitch);
      const Both rows = rows_.plane(0);
      const int64_t pitch = layout_.pitch;
      const auto window = static_cast<uint8_t>(geometry_.window[kInner]);
      const auto best_of_rows = [=](int c, int64_t block) {
        const Source row{rows[c].key + block, rows[c].tap + block, 0};
        Best best(row);
        best.replace_if_better(row.from(pitch, window));
        best.replace_if_better(row.from(2 * pitch, 2 * window));
        return best;
      };
      for (int64_t block = begin; block < end; block += kBlock) {
        ahead.fetch(block);
        consumer(block, best_of_rows(kBackground, block), best_of_rows(kForeground, block));
      }
    }
  }

  // Reduces the rows from next_row on that begin before index `end`. Returns the next row.
  int64_t reduce_rows(const uint8_t* codes, int64_t next_row, int64_t end) {
    const Both rows = rows_.plane(0);
    for (; next_row < layout_.rows.end; ++next_row) {
      const int64_t start = start_of_row(next_row);
      if (start >= end) {
        return next_row;
      }
      auto columns = columns_of(codes, next_row);
      const Keep keep{{rows[kBackground].from(start), rows[kForeground].from(start)}};
      // In ascending order: behind a row's last pixel, a block may overwrite the next row, which is
      // then written again ...
      for (int64_t block = 0; block < layout_.interior_columns.length(); block += kBlock) {
        Best background, foreground;
        columns.next_block(block, background, foreground);
        keep(block, background, foreground);
      }
    }
    // ... or what no row writes, outside of the image.
    if (next_row < layout_.interior_rows.end + layout_.reach[0]) {
      forget_rows(rows, start_of_row(next_row), kBlock);
    }
    return next_row;
  }

  ThreeColumns<Key> columns_of(const uint8_t* codes, int64_t y) {
    return logits_.three_columns(next_, y, codes + start_of_row(y));
  }

  bool has_rows() const {
    return layout_.reach[0] > 0;
  }
  // The index of the first of a row's best candidates.
  int64_t start_of_row(int64_t y) const {
    return layout_.index(y, layout_.interior_columns.begin) - layout_.reach[1];
  }
  static void forget_rows(const Both& rows, int64_t from, int64_t count) {
    for (const auto& row : rows) {
      std::fill_n(row.key + from, count, kNoCandidate<Key>);
    }
  }
  // The first tap of plane `of` in the window around plane z.
  uint8_t displacement(int64_t of, int64_t z) const {
    return static_cast<uint8_t>(geometry_.first_tap_of_plane(of - z));
  }
  Source at(int64_t of, int64_t z, int c) const {
    const auto plane = planes_.plane(of % 2)[c];
    return {plane.key, plane.tap, displacement(of, z)};
  }

  const Geometry& geometry_;
  const PlaneLayout& layout_;
  const int64_t first_plane_;
  LogitRows<Key> logits_;
  CandidatePlanes<Key, uint8_t> rows_;    // 1 plane, after the row pass (3D)
  CandidatePlanes<Key, uint8_t> planes_;  // the last two that were reduced
  int64_t next_ = 0;                      // the next plane to be reduced
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
