// Finds where the winners of a row of pixels lie, so that their values can be read or added to.
//
//     pixel i          0     1      2        ...
//     its winner       4     1      7                  taps of a window of 3 by 3
//     the tap's offset 0    -128   +128                rows of 128: itself, above, below
//     found            0    -127    130                i + offset, from the row's first pixel on
//
// Offsets are looked up tap by tap in a table, or in AVX-512 sixteen at a time; they are handed out
// one by one, since what one pixel adds a later one may read.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "../../contract/geometry.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "winners.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Returns the winners of [count] pixels from the `offset`-th element on, contiguous: where they
// lie, or copied to `to`.
inline const void* winners_of_pixels(const View<const char>& winners, WinnerType type,
                                     int64_t offset, int64_t count, void* to) {
  const int64_t stride = winners.axis[kInner];
  const char* row = winners.data + offset * bytes_of(type);
  if (stride == 1) {
    return row;
  }
  gather_elements(row, stride, count, bytes_of(type), to);
  return to;
}

// Prefetches the winners of pixels that are looked up soon.
inline void fetch_winners_ahead(const View<const char>& winners, WinnerType type, int64_t offset,
                                int64_t count) {
  const int64_t bytes = bytes_of(type);
  fetch_ahead(winners.data + bytes * offset, count * bytes, winners.axis[kInner]);
}

struct OffsetsOfTaps {
  const int32_t* table;
  int64_t length;

  template <class Winner>
  SCNP_ALWAYS_INLINE int64_t operator[](Winner winner) const {
    return table[entry_of_tap(winner, length)];
  }
};

// Lookup table from tap number to element offset. It covers every uint8, and wider
// winners are clamped to it, so that corrupt ones cannot index out of bounds.
class WinnerOffsets {
 public:
  // The most rows of a window that are looked up sixteen at a time, in one or two registers.
  static constexpr int64_t kMostRows = 32;

  WinnerOffsets(Scratch& scratch, const Geometry& geometry, WinnerType type)
      : geometry_(geometry),
        width_(geometry.window[kInner]),
        rows_(geometry.window[kOuter] * geometry.window[kMiddle]),
        taps_(geometry.taps()),
        in_registers_(may_be_in_registers(geometry, type)),
        length_(in_registers_ ? kMostRows : std::max<int64_t>(taps_ + 1, 256)),
        table_(scratch.array<int32_t>(length_)) {
  }

  // of_row(outer, middle) returns the offset of the pixel so many planes and rows ahead. elsewhere:
  // the offset that numbers get which are no tap.
  template <class OfRow>
  void find(const OfRow& of_row, int64_t elsewhere) {
    if (in_registers_) {
      int32_t* entry = table_;
      each_row(of_row, [&](int64_t /*first*/, int64_t of_tap_0) {
        *entry++ = static_cast<int32_t>(of_tap_0);
      });
      std::fill(entry, table_ + length_, static_cast<int32_t>(elsewhere - taps_));
      return;
    }
    const int64_t outside = width_ / 2 - geometry_.reach(kInner);
    std::fill_n(table_, length_, static_cast<int32_t>(elsewhere));
    each_row(of_row, [&](int64_t first, int64_t of_tap_0) {
      for (int64_t tap = first + outside; tap < first + width_ - outside; ++tap) {
        table_[tap] = static_cast<int32_t>(of_tap_0 + tap);
      }
    });
  }

  template <class Winner>
  int64_t operator[](Winner winner) const {
    if (!in_registers_) {
      return of_taps()[winner];
    }
    const int64_t tap = std::min<int64_t>(winner, taps_);
    return table_[tap / width_] + tap;
  }
  bool in_registers() const {
    return in_registers_;
  }
  // If they are not: the offset of every tap. Loops hold a copy, which no store can change.
  OffsetsOfTaps of_taps() const {
    return {table_, length_};
  }
  // If they are in registers: what is added to the taps of each row of the window, and of those
  // behind it.
  const int32_t* of_rows() const {
    return table_;
  }
  int64_t rows() const {
    return rows_;
  }
  int64_t width() const {
    return width_;
  }
  int64_t taps() const {
    return taps_;
  }

 private:
  static bool may_be_in_registers([[maybe_unused]] const Geometry& geometry,
                                  [[maybe_unused]] WinnerType type) {
#if SCNP_AVX512
    // In a narrower image, some taps of a row lead outside and others do not.
    return type == WinnerType::kUInt8 && geometry.taps() <= kMostTapsOfUInt8 &&
           geometry.window[kInner] > 1 &&
           geometry.window[kOuter] * geometry.window[kMiddle] < kMostRows &&
           geometry.reach(kInner) == geometry.window[kInner] / 2;
#else
    return false;
#endif
  }
  // Calls body(first tap of the row, offset of a tap 0 in line with it) for every row of the
  // window.
  template <class OfRow, class Body>
  void each_row(const OfRow& of_row, const Body& body) const {
    const int64_t planes = geometry_.window[kOuter];
    const int64_t rows = geometry_.window[kMiddle];
    int64_t first = 0;
    for (int64_t plane = 0; plane < planes; ++plane) {
      for (int64_t row = 0; row < rows; ++row) {
        body(first, of_row(plane - planes / 2, row - rows / 2) - width_ / 2 - first);
        first += width_;
      }
    }
  }

  const Geometry& geometry_;
  int64_t width_;
  int64_t rows_;
  int64_t taps_;
  bool in_registers_;
  int64_t length_;
  int32_t* table_;  // [32] for rows, or [taps and more] for taps
};

#if SCNP_AVX512

// Looks up sixteen winners at a time: a tap's row is found by multiplication, and that row's offset
// in registers.
template <int kRegisters>
class OffsetsInRegisters {
 public:
  static constexpr int64_t kPixels = 64;

  explicit OffsetsInRegisters(const WinnerOffsets& offsets)
      : taps_(_mm_set1_epi8(static_cast<char>(offsets.taps()))),
        row_of_tap_(_mm512_set1_epi32(static_cast<int32_t>(65536 / offsets.width() + 1))) {
    for (int i = 0; i < kRegisters; ++i) {
      of_rows_[i] = _mm512_loadu_si512(offsets.of_rows() + 16 * i);
    }
  }
  // Writes to offsets[i] the offset of the winner of pixel first + i, for at most 64 pixels. What
  // follows the last of them, up to a multiple of sixteen, is overwritten.
  SCNP_ALWAYS_INLINE void find_offsets(const uint8_t* winners, int64_t first, int64_t count,
                                       int32_t* offsets) const {
    __m512i pixel =
        _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(static_cast<int32_t>(first)));
    for (int64_t i = 0; i < count; i += 16) {
      const auto inside =
          static_cast<__mmask16>(_bzhi_u32(0xffff, static_cast<unsigned>(count - i)));
      const __m128i bytes = _mm_maskz_loadu_epi8(inside, winners + first + i);
      const __m512i taps = _mm512_cvtepu8_epi32(_mm_min_epu8(bytes, taps_));
      // This is exact for taps and widths up to 255.
      const __m512i rows = _mm512_srli_epi32(_mm512_madd_epi16(taps, row_of_tap_), 16);
      _mm512_store_si512(offsets + i,
                         _mm512_add_epi32(_mm512_add_epi32(pixel, taps), of_rows(rows)));
      pixel = _mm512_add_epi32(pixel, _mm512_set1_epi32(16));
    }
  }

 private:
  static_assert(kRegisters == 1 || kRegisters == 2);

  SCNP_ALWAYS_INLINE __m512i of_rows(__m512i rows) const {
    if constexpr (kRegisters == 1) {
      return _mm512_permutexvar_epi32(rows, of_rows_[0]);
    } else {
      return _mm512_permutex2var_epi32(of_rows_[0], rows, of_rows_[1]);
    }
  }

  __m128i taps_;
  __m512i row_of_tap_;
  __m512i of_rows_[kRegisters];
};

// each_winner() with registers. Two offsets are loaded at once: loads are what such loops wait for.
template <int kRegisters, class Body>
SCNP_ALWAYS_INLINE void each_winner_of_registers(const uint8_t* winners, int64_t count,
                                                 const WinnerOffsets& offsets, const Body& body) {
  using Registers = OffsetsInRegisters<kRegisters>;
  const Registers registers(offsets);
  alignas(64) int32_t found[Registers::kPixels];
  for (int64_t first = 0; first < count; first += Registers::kPixels) {
    const int64_t n = std::min(Registers::kPixels, count - first);
    registers.find_offsets(winners, first, n, found);
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
      int64_t two[2];
      std::memcpy(two, found + i, sizeof(two));
      body(first + i, static_cast<int32_t>(two[0]));
      body(first + i + 1, two[0] >> 32);
      body(first + i + 2, static_cast<int32_t>(two[1]));
      body(first + i + 3, two[1] >> 32);
    }
    for (; i < n; ++i) {
      body(first + i, found[i]);
    }
  }
}

#endif

// Calls body(i, offset of its winner) for every pixel i in [0, count), in ascending order, after
// body.advance(n) counted n pixels further on. Without registers pixels come eight at a time: where
// i is a constant, addresses need no arithmetic.
template <class Winner, class Body>
SCNP_ALWAYS_INLINE void each_winner(const Winner* winners, int64_t count,
                                    const WinnerOffsets& offsets, Body body) {
#if SCNP_AVX512
  if constexpr (sizeof(Winner) == 1) {
    if (offsets.in_registers()) {
      return offsets.rows() < 16 ? each_winner_of_registers<1>(winners, count, offsets, body)
                                 : each_winner_of_registers<2>(winners, count, offsets, body);
    }
  }
#endif
  constexpr int64_t kTogether = 8;
  const OffsetsOfTaps table = offsets.of_taps();
  for (; count >= kTogether; count -= kTogether) {
    [&]<int... i>(std::integer_sequence<int, i...> /*pixels*/) {
      (body(i, i + table[winners[i]]), ...);
    }(std::make_integer_sequence<int, kTogether>{});
    body.advance(kTogether);
    winners += kTogether;
  }
  for (int64_t i = 0; i < count; ++i) {
    body(i, i + table[winners[i]]);
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
