// Eq. 2 for windows of three by three in 2D, in AVX-512. Pixels do not add to their winner: every
// pixel collects the gradients of the neighbours that name it as their winner.
//
//     winners around pixel i        taps that lead to i         gradient there
//
//         4  7  4                       8  7  6                    .  +  .
//         5  4  3              =?       5  4  3          ->        +  +  +        sum -> i
//         0  1  2                       2  1  0                    .  +  .
//
// Neighbours come in raster order, the order of scatter-inl.h, so the bits are the same. This takes
// nine comparisons for every pixel, but for 64 pixels at once; for windows of 27 it would be more
// work than adding to winners.
#pragma once

#include "../targets/prologue_avx512.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// T: float, or Half, which is added up as float.
template <class T>
class ScatterWindow3In2D {
  static constexpr int kLanes = 16;
  static constexpr int64_t kPixels = 64;
  static constexpr int kRegisters = kPixels / kLanes;
  static constexpr int64_t kRows = 3;

 public:
  static bool serves(const ScatterCall& call) {
    const Geometry& geometry = call.geometry;
    return call.winner_type == WinnerType::kUInt8 && geometry.size[kMiddle] == 1 &&
           geometry.reach(kOuter) == 1 && geometry.reach(kInner) == 1;
  }

  ScatterWindow3In2D(const ScatterCall& call, const Tile& tile)
      : call_(call),
        tile_(tile),
        columns_(tile.span[kInner].grown(1, call.geometry.size[kInner])),
        channels_(tile.channels.length()),
        streamed_(is_streamed(call.geometry.logits() * static_cast<int64_t>(sizeof(T)))),
        rows_(scratch_.array<Row>(kRows * channels_)),
        row_values_(scratch_.array<T>(columns_.length())),
        gradient_(scratch_.array<float>(kRows * channels_ * columns_.length())),
        winners_(scratch_.array<uint8_t>(kRows * channels_ * columns_.length())),
        sums_(scratch_.array<float>(interior_columns())),
        results_(scratch_.array<T>(channels_ * interior_columns())),
        written_(scratch_, channels_, interior_columns(), strides_of(call.logits_gradient),
                 sizeof(T), streamed_) {
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
      for (int64_t c = 0; c < channels_; ++c) {
        collect_row(z, c);
      }
      if (!writes_at_once(z)) {
        written_.write(interior_columns(), result_at(z, 0));
      }
    }
    finish_streaming();
  }

 private:
  // A row of pixels that may name winners, [columns].
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

  // Returns the row as it lies in memory, or a copy if its elements are not contiguous.
  Row read_row(int64_t z, int64_t c) const {
    const int64_t n = columns_.length();
    const int64_t slot = (c * kRows + z % kRows) * n;
    const T* values = row_at<T>(call_.gradient, z, c);
    if (call_.gradient.axis[kInner] != 1) {
      T* copied = row_values_;
      if constexpr (std::is_same_v<T, float>) {
        copied = gradient_ + slot;
      }
      gather_row(values, call_.gradient.axis[kInner], n, copied);
      values = copied;
    }
    const uint8_t* winners = row_at<uint8_t>(call_.winners, z, c);
    if (call_.winners.axis[kInner] != 1) {
      gather_row(winners, call_.winners.axis[kInner], n, winners_ + slot);
      winners = winners_ + slot;
    }
    if constexpr (std::is_same_v<T, float>) {
      return {values, winners};
    } else {
      float* wide = gradient_ + slot;
      widen_row(call_.type, values, 1, n, wide);
      return {wide, winners};
    }
  }

  // Whether row z is written where it belongs without a detour. A streamed row has to begin with a
  // cache line.
  bool writes_at_once(int64_t z) const {
    const bool aligned = reinterpret_cast<uintptr_t>(result_at(z, 0)) % kCacheLine == 0;
    const bool streams = std::is_same_v<T, float> && streamed_;
    return call_.logits_gradient.axis[kInner] == 1 && (aligned || !streams);
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
      fetch_ahead(gradient_ahead + i * gradient_stride, kPixels, gradient_stride);
      fetch_ahead(winners_ahead + i * winners_stride, kPixels, winners_stride);
      __m512 block[kRegisters];
      for (__m512& sums_of_sixteen : block) {
        sums_of_sixteen = _mm512_setzero_ps();
      }
      for (int row = 0; row < count; ++row) {
        add_row(rows[row], first + i, taps[row], block);
      }
      store(block, interior_columns() - i, streamed, sums + i);
    }
  }
  // x: the index of the block's first pixel in [columns]. tap: of a winner in the same column.
  SCNP_ALWAYS_INLINE void add_row(const Row& row, int64_t x, int64_t tap, __m512* block) const {
    for (int64_t from = x - 1; from <= x + 1; ++from) {
      const auto count = std::min(kPixels, columns_.length() - from);
      const __mmask64 inside = _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(count)) &
                               (from < 0 ? ~uint64_t{1} : ~uint64_t{0});
      const __mmask64 lead_here =
          _mm512_mask_cmpeq_epi8_mask(inside, _mm512_maskz_loadu_epi8(inside, row.winners + from),
                                      _mm512_set1_epi8(static_cast<char>(tap + x - from)));
      for (int r = 0; r < kRegisters; ++r) {
        const auto mask = static_cast<__mmask16>(lead_here >> (r * kLanes));
        // A sum is never -0, so adding 0 changes nothing.
        block[r] =
            _mm512_add_ps(block[r], _mm512_maskz_loadu_ps(mask, row.gradient + from + r * kLanes));
      }
    }
  }
  static SCNP_ALWAYS_INLINE void store(const __m512* block, int64_t count, bool streamed,
                                       float* sums) {
    for (int r = 0; r < kRegisters; ++r) {
      float* to = sums + r * kLanes;
      const int64_t left = count - r * kLanes;
      if (left >= kLanes && streamed) {
        _mm512_stream_ps(to, block[r]);
      } else {
        const auto inside = static_cast<unsigned>(std::clamp<int64_t>(left, 0, kLanes));
        _mm512_mask_storeu_ps(to, static_cast<__mmask16>(_bzhi_u32(0xffff, inside)), block[r]);
      }
    }
  }

  const ScatterCall& call_;
  const Tile tile_;
  const Span columns_;  // of pixels whose winners may be in the tile
  const int64_t channels_;
  const bool streamed_;
  Scratch scratch_;
  Row* rows_;         // [C, 3], a ring
  T* row_values_;     // [columns]
  float* gradient_;   // [C, 3, columns], for rows that have to be copied
  uint8_t* winners_;  // [C, 3, columns], likewise
  float* sums_;       // [tile columns], for half types
  T* results_;        // [C, tile columns], for rows that need a detour
  RowsOfChannels written_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
