// Eq. 1 for windows of three, the commonest: what the passes of any_window-inl.h hand each other
// stays in registers, but for two reduced planes (and a strip of rows in 3D).
//
//     logits, codes of plane z+1           ring of two reduced planes           penalized, winners
//
//     a block: keys of both classes           z-1  ----,
//       -> best of x-1, x, x+1                z    ----+-- best of the
//       -> in 3D, of y-1, y, y+1              z+1  ----'   class, a block  -->       plane z
//                                             |
//                                             '-> stored where z-1 was: it is not read again
#pragma once

#include "../targets/prologue_registers.h"

#include <algorithm>
#include <cstdint>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../tiling/tile_codes-inl.h"
#include "../tiling/tiles.h"
#include "penalized_planes-inl.h"
#include "three_columns-inl.h"

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
      for (int64_t block = 0; block < layout_.interior_size(); block += kPixels) {
        choose(block);
      }
      return;
    }
    reduce(codes, KeepAndChoose{{planes_.plane(next_ % 2)}, displacement(z + 1, z), choose});
    ++next_;
  }
  // Planes of one row are soon done: the codes of the next are fetched meanwhile.
  bool prefetches_codes() const override {
    return !has_rows();
  }
  bool may_stream(const Key* penalized) const override {
    return begins_with_line(penalized);
  }

 private:
  using Both = BothClasses<Key, uint8_t>;

  using Keys = KeyRegister<Key>;
  static constexpr int kRegisters = kRegistersPerBlock<Key>;
  static constexpr int kLanes = kKeysPerRegister<Key>;
  static constexpr int kAtOnce = kRegistersAtOnce<Key>;

  // What is done with a block of the newest plane: it is given the best keys of both classes,
  // register by register, and then their taps.
  struct Keep {
    Both plane;

    struct OfBlock {
      const Keep& keep;
      int64_t block;

      SCNP_ALWAYS_INLINE void keys(int r, const Register* background,
                                   const Register* foreground) const {
        SCNP_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
          const int64_t index = block + (r + i) * kLanes;
          Keys::store(keep.plane[kBackground].key + index, background[i]);
          Keys::store(keep.plane[kForeground].key + index, foreground[i]);
        }
      }
      SCNP_ALWAYS_INLINE void taps(Register background, Register foreground) const {
        ByteRegister::store(keep.plane[kBackground].tap + block, background);
        ByteRegister::store(keep.plane[kForeground].tap + block, foreground);
      }
    };
    SCNP_ALWAYS_INLINE OfBlock of_block(int64_t block) const {
      return {*this, block};
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
    Keep keep;
    uint8_t displacement;
    Choose choose;

    // The planes come in ascending order, and the newest is then stored where the first was.
    class OfBlock {
     public:
      SCNP_ALWAYS_INLINE OfBlock(const KeepAndChoose& both, int64_t block)
          : both_(both),
            block_(block),
            keep_{both.keep, block},
            codes_(both.choose.interior_codes + block),
            writer_(pixels_with(both.choose.interior_codes + block, kInvalidPixel),
                    both.choose.centre_tap, both.choose.results, block) {
      }
      SCNP_ALWAYS_INLINE void keys(int r, const Register* background, const Register* foreground) {
        const Choose& choose = both_.choose;
        Register in_class[kAtOnce], first[kAtOnce], second[kAtOnce], third[kAtOnce];
        SCNP_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
          in_class[i] = Keys::ones_where(codes_.are(r + i, choose.class_code));
          const int64_t index = block_ + (r + i) * kLanes;
          const auto of_plane = [&](int plane) {
            return Keys::selected(in_class[i], Keys::load(choose.foreground[plane].key + index),
                                  Keys::load(choose.background[plane].key + index));
          };
          first[i] = of_plane(0);
          second[i] = of_plane(1);
          third[i] = Keys::selected(in_class[i], foreground[i], background[i]);
        }
        best_.choose(r, first, second, third);
        keep_.keys(r, background, foreground);
        SCNP_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
          writer_.write_logits(r + i, Keys::exclusive_or(first[i], in_class[i]));
        }
      }
      SCNP_ALWAYS_INLINE void taps(Register background, Register foreground) const {
        const Choose& choose = both_.choose;
        const PixelMask in_class = pixels_with(choose.interior_codes + block_, choose.class_code);
        const auto of_plane = [&](int plane) {
          return ByteRegister::added(
              ByteRegister::where(in_class,
                                  ByteRegister::load(choose.foreground[plane].taps + block_),
                                  ByteRegister::load(choose.background[plane].taps + block_)),
              ByteRegister::all(choose.background[plane].base));
        };
        const Register best_of_two = ByteRegister::where(best_.second(), of_plane(1), of_plane(0));
        const Register best = ByteRegister::sum_where(
            best_.third(), ByteRegister::where(in_class, foreground, background),
            ByteRegister::all(both_.displacement), best_of_two);
        keep_.taps(background, foreground);
        writer_.write_winners(best);
      }

     private:
      const KeepAndChoose& both_;
      const int64_t block_;
      const typename Keep::OfBlock keep_;
      const BlockCodes<Key> codes_;
      const BlockWriter<Key> writer_;
      FirstOfThree<Key> best_;
    };
    SCNP_ALWAYS_INLINE OfBlock of_block(int64_t block) const {
      return {*this, block};
    }
  };

  // The first best of three rows, in one class.
  struct BestOfRows {
    Candidates<Key, uint8_t> rows;
    int64_t pitch;
    uint8_t window;

    struct OfBlock {
      const BestOfRows& of;
      int64_t block;
      FirstOfThree<Key> best{};

      SCNP_ALWAYS_INLINE void keys(int r, Register* first) {
        Register second[kAtOnce], third[kAtOnce];
        SCNP_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
          const Key* row = of.rows.key + block + (r + i) * kLanes;
          first[i] = Keys::load(row);
          second[i] = Keys::load(row + of.pitch);
          third[i] = Keys::load(row + 2 * of.pitch);
        }
        best.choose(r, first, second, third);
      }
      SCNP_ALWAYS_INLINE Register taps() const {
        const uint8_t* row = of.rows.tap + block;
        const Register best_of_two =
            ByteRegister::sum_where(best.second(), ByteRegister::load(row + of.pitch),
                                    ByteRegister::all(of.window), ByteRegister::load(row));
        return ByteRegister::sum_where(best.third(), ByteRegister::load(row + 2 * of.pitch),
                                       ByteRegister::all(static_cast<uint8_t>(2 * of.window)),
                                       best_of_two);
      }
    };
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
      for (int64_t block = 0; block < size; block += kPixels) {
        if (block % kBlock == 0) {
          ahead.fetch(block);
          codes.fetch_ahead_of_reading(next_ + 1, layout_.columns.begin + block, kBlock);
        }
        auto of_block = consumer.of_block(block);
        columns.next_block(block, of_block);
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
      const BestOfRows background{rows[kBackground], pitch, window};
      const BestOfRows foreground{rows[kForeground], pitch, window};
      for (int64_t block = begin; block < end; block += kPixels) {
        if (block % kBlock == 0) {
          ahead.fetch(block);
        }
        auto of_block = consumer.of_block(block);
        typename BestOfRows::OfBlock of_background{background, block};
        typename BestOfRows::OfBlock of_foreground{foreground, block};
        SCNP_UNROLL
        for (int r = 0; r < kRegisters; r += kAtOnce) {
          Register best_background[kAtOnce], best_foreground[kAtOnce];
          of_background.keys(r, best_background);
          of_foreground.keys(r, best_foreground);
          of_block.keys(r, best_background, best_foreground);
        }
        of_block.taps(of_background.taps(), of_foreground.taps());
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
      for (int64_t block = 0; block < layout_.interior_columns.length(); block += kPixels) {
        auto of_block = keep.of_block(block);
        columns.next_block(block, of_block);
      }
    }
    // ... or what no row writes, outside of the image.
    if (next_row < layout_.interior_rows.end + layout_.reach[0]) {
      forget_rows(rows, start_of_row(next_row), kBlock);
    }
    return next_row;
  }

  SCNP_ALWAYS_INLINE ThreeColumns<Key> columns_of(const uint8_t* codes, int64_t y) {
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
