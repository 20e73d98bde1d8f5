// Eq. 2 for windows of three by three in 2D, in registers. Pixels do not add to their winner: every
// pixel collects the gradients of the neighbours that name it as their winner.
//
//     winners around pixel i        taps that lead to i         gradient there
//
//         4  7  4                       8  7  6                    .  +  .
//         5  4  3              =?       5  4  3          ->        +  +  +        sum -> i
//         0  1  2                       2  1  0                    .  +  .
//
// Neighbours come in raster order, the order of scatter-inl.h, so the bits are the same. This takes
// nine comparisons for every pixel, but for many pixels at once; for windows of 27 it would be more
// work than adding to winners.
#pragma once

#include "../targets/prologue_registers.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../tiling/plane_layout-inl.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"
#include "../vector/registers-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// T: float, or Half, which is added up as float.
template <class T>
class ScatterWindow3In2D {
  using Floats = FloatRegister::Floats;
  static constexpr int kLanes = kKeysPerRegister<int32_t>;
  static constexpr int kRegisters = kRegistersPerBlock<int32_t>;
  static constexpr int64_t kRows = 3;
  static constexpr uint8_t kNoTap = 255;

 public:
  static bool serves(const ScatterCall& call) {
    const Geometry& geometry = call.geometry;
    return call.winner_type == WinnerType::kUInt8 && geometry.size[kMiddle] == 1 &&
           geometry.reach(kOuter) == 1 && geometry.reach(kInner) == 1;
  }

  // in_cache: see ScatterChannels.
  ScatterWindow3In2D(const ScatterCall& call, const Tile& tile, bool in_cache = false)
      : call_(call),
        tile_(tile),
        columns_(tile.span[kInner].grown(1, call.geometry.size[kInner])),
        channels_(tile.channels.length()),
        streamed_(!in_cache &&
                  is_streamed(call.geometry.logits() * static_cast<int64_t>(sizeof(T)))),
        rows_(scratch_.array<Row>(kRows * channels_)),
        row_values_(scratch_.array<T>(columns_.length())),
        stride_((columns_.length() + kBlock - 1) / kBlock * kBlock),
        gradient_(scratch_.array<float>(kRows * channels_ * stride_)),
        padded_(columns_.length() + 3 * kPixels),
        winners_(scratch_.array<uint8_t>(kRows * channels_ * padded_)),
        sums_(scratch_.array<float>(interior_columns())),
        results_(scratch_.array<T>(channels_ * interior_columns())),
        written_(scratch_, channels_, interior_columns(), strides_of(call.logits_gradient),
                 sizeof(T), streamed_) {
    std::fill_n(winners_, kRows * channels_ * padded_, kNoTap);
  }

  void run() {
    const Span interior = tile_.span[kOuter];
    const Span sources = interior.grown(1, call_.geometry.size[kOuter]);
    int64_t next = sources.begin;
    for (int64_t z = interior.begin; z < interior.end; ++z) {
      for (; next < std::min(z + 2, sources.end); ++next) {
        for (int64_t c = 0; c < channels_; ++c) {
          row_of(next, c) = read_row(next, c);
        }
      }
      collect_row(z);
    }
    finish_streaming();
  }

  // What follows stands for run() where the rows are given one after the other, instead of an
  // incoming gradient: for each of planes(), which are rows in 2D, first winners_of_row() and
  // values_of_row(), which is filled, then end_plane(); after the last, finish().
  Span planes() const {
    return tile_.span[kOuter].grown(1, call_.geometry.size[kOuter]);
  }
  Span rows() const {
    return tile_.span[kMiddle];
  }
  Span columns() const {
    return columns_;
  }
  bool streams() const {
    return streamed_;
  }
  const void* winners_of_row(int64_t z, int64_t c) {
    const uint8_t* winners = copy_winners(z, c);
    row_of(z, c) = {values_of_row(z) + c * stride_, winners};
    return winners;
  }
  // Returns [C, stride_of_values()], with room for whole blocks.
  float* values_of_row(int64_t z) {
    return gradient_ + z % kRows * channels_ * stride_;
  }
  int64_t stride_of_values() const {
    return stride_;
  }
  void end_plane(int64_t z) {
    if (z > tile_.span[kOuter].begin) {
      collect_row(z - 1);
    }
  }
  void finish() {
    if (planes().end == tile_.span[kOuter].end) {
      collect_row(planes().end - 1);
    }
    finish_streaming();
  }

 private:
  // A row of pixels that may name winners, [columns]. The winners are a copy, with kNoTap in front
  // and behind: so one loop serves the borders too.
  struct Row {
    const float* gradient;
    const uint8_t* winners;
  };

  int64_t interior_columns() const {
    return tile_.span[kInner].length();
  }
  Row& row_of(int64_t z, int64_t c) const {
    return rows_[c * kRows + z % kRows];
  }
  T* result_at(int64_t z, int64_t c) const {
    const View<char>& result = call_.logits_gradient;
    return reinterpret_cast<T*>(result.data) +
           result.offset(tile_.batch, tile_.channels.begin + c, z, 0, tile_.span[kInner].begin);
  }
  template <class Value>
  const Value* row_at(const View<const char>& view, int64_t z, int64_t c) const {
    return reinterpret_cast<const Value*>(view.data) +
           view.offset(tile_.batch, tile_.channels.begin + c, z, 0, columns_.begin);
  }

  // Returns the row. Its gradient is copied only if its elements are not contiguous.
  Row read_row(int64_t z, int64_t c) const {
    const int64_t n = columns_.length();
    const int64_t slot = (z % kRows * channels_ + c) * stride_;
    const T* values = row_at<T>(call_.gradient, z, c);
    if (call_.gradient.axis[kInner] != 1) {
      T* copied = row_values_;
      if constexpr (std::is_same_v<T, float>) {
        copied = gradient_ + slot;
      }
      gather_row(values, call_.gradient.axis[kInner], n, copied);
      values = copied;
    }
    const uint8_t* winners = copy_winners(z, c);
    if constexpr (std::is_same_v<T, float>) {
      return {values, winners};
    } else {
      float* wide = gradient_ + slot;
      widen_row(call_.type, values, 1, n, wide);
      return {wide, winners};
    }
  }

  const uint8_t* copy_winners(int64_t z, int64_t c) const {
    const int64_t n = columns_.length();
    uint8_t* winners = winners_ + (c * kRows + z % kRows) * padded_ + kPixels;
    if (call_.winners.axis[kInner] == 1) {
      std::memcpy(winners, row_at<uint8_t>(call_.winners, z, c), static_cast<size_t>(n));
    } else {
      gather_row(row_at<uint8_t>(call_.winners, z, c), call_.winners.axis[kInner], n, winners);
    }
    return winners;
  }

  // Whether row z is written where it belongs without a detour. A streamed row has to begin with a
  // cache line.
  bool writes_at_once(int64_t z) const {
    const bool aligned = reinterpret_cast<uintptr_t>(result_at(z, 0)) % kCacheLine == 0;
    const bool streams = std::is_same_v<T, float> && streamed_;
    return call_.logits_gradient.axis[kInner] == 1 && (aligned || !streams);
  }
  void collect_row(int64_t z) {
    for (int64_t c = 0; c < channels_; ++c) {
      collect_row(z, c);
    }
    if (!writes_at_once(z)) {
      written_.write(interior_columns(), result_at(z, 0));
    }
  }
  void collect_row(int64_t z, int64_t c) {
    const bool at_once = writes_at_once(z);
    T* row = at_once ? result_at(z, c) : results_ + c * interior_columns();
    if constexpr (std::is_same_v<T, float>) {
      add_up(z, c, at_once && streamed_, row);
    } else {
      add_up(z, c, false, sums_);
      narrow_row(call_.type, sums_, interior_columns(), row);
    }
    written_.set(c, row);
  }

  // sums: [tile columns] of row z. streamed: they are written around the cache, and are aligned.
  void add_up(int64_t z, int64_t c, bool streamed, float* sums) const {
    const Geometry& geometry = call_.geometry;
    Row rows[kRows];
    int64_t taps[kRows];
    int count = 0;
    const Span sources = Span{z, z + 1}.grown(1, geometry.size[kOuter]);
    for (int64_t from = sources.begin; from < sources.end; ++from, ++count) {
      rows[count] = row_of(from, c);
      taps[count] = geometry.tap(z - from, 0, 0);
    }
    const int64_t ahead = std::min(z + 2, geometry.size[kOuter] - 1);
    const int64_t gradient_stride = call_.gradient.axis[kInner];
    const int64_t winners_stride = call_.winners.axis[kInner];
    const T* gradient_ahead = row_at<T>(call_.gradient, ahead, c);
    const uint8_t* winners_ahead = row_at<uint8_t>(call_.winners, ahead, c);
    const int64_t first = tile_.span[kInner].begin - columns_.begin;
    for (int64_t i = 0; i < interior_columns(); i += kPixels) {
      if (i % kBlock == 0 && call_.gradient.data != nullptr) {
        fetch_ahead(gradient_ahead + i * gradient_stride, kBlock, gradient_stride);
        fetch_ahead(winners_ahead + i * winners_stride, kBlock, winners_stride);
      }
      Floats block[kRegisters];
      for (Floats& register_of_block : block) {
        register_of_block = FloatRegister::zero();
      }
      const int64_t x = first + i;
      if (x > 0 && x + kPixels < columns_.length()) {
        for (int row = 0; row < count; ++row) {
          add_row<true>(rows[row], x, taps[row], block);
        }
      } else {
        for (int row = 0; row < count; ++row) {
          add_row<false>(rows[row], x, taps[row], block);
        }
      }
      store(block, interior_columns() - i, streamed, sums + i);
    }
  }
  // x: the index of the block's first pixel in [columns]. tap: of a winner in the same column.
  template <bool kInside>
  static SCNP_ALWAYS_INLINE void add_row(const Row& row, int64_t x, int64_t tap, Floats* block) {
    SCNP_UNROLL
    for (int64_t column = -1; column <= 1; ++column) {
      const int64_t from = x + column;
      typename FloatRegister::Mask lead_here[kRegisters];
      masks_of_registers<int32_t>(
          ByteRegister::equal(ByteRegister::load(row.winners + from),
                              ByteRegister::all(static_cast<uint8_t>(tap - column))),
          lead_here);
      SCNP_UNROLL
      for (int r = 0; r < kRegisters; ++r) {
        // A sum is never -0, so adding 0 changes nothing.
        const float* gradient = row.gradient + from + r * kLanes;
        block[r] = FloatRegister::add(block[r],
                                      kInside ? FloatRegister::keep_where(lead_here[r], gradient)
                                              : FloatRegister::load_where(lead_here[r], gradient));
      }
    }
  }
  static SCNP_ALWAYS_INLINE void store(const Floats* block, int64_t count, bool streamed,
                                       float* sums) {
    for (int r = 0; r < kRegisters; ++r) {
      float* to = sums + r * kLanes;
      const int64_t left = count - r * kLanes;
      if (left >= kLanes && streamed) {
        FloatRegister::stream(to, block[r]);
      } else if (left >= kLanes) {
        FloatRegister::store(to, block[r]);
      } else {
        FloatRegister::store_first(left, to, block[r]);
      }
    }
  }

  const ScatterCall& call_;
  const Tile tile_;
  const Span columns_;  // of pixels whose winners may be in the tile
  const int64_t channels_;
  const bool streamed_;
  Scratch scratch_;
  Row* rows_;             // [C, 3], a ring
  T* row_values_;         // [columns]
  const int64_t stride_;  // from a channel's values to the next one's: columns, in whole blocks
  float* gradient_;       // [3, C, stride], for rows that have to be copied or are given
  const int64_t padded_;  // columns, with room in front and behind
  uint8_t* winners_;      // [C, 3, padded]
  float* sums_;           // [tile columns], for half types
  T* results_;            // [C, tile columns], for rows that need a detour
  RowsOfChannels written_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
