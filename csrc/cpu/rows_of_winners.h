// The winners of a row of pixels: their values read, or added to.
//
//     winners   4        1         7                    table of offsets, by tap:
//     places    0 + 12   1 - 115   2 + 128   ...          1 -> -115    4 -> 12    7 -> 128
//               where each pixel's winner lies, from the row's first pixel on
//
// The pixels come one by one: what one adds, a later one may read.
#pragma once

#include "winners.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// Where the winners of a row lie, seen from their pixels.
class WinnerOffsets {
 public:
  // of_tap: [length], at least 256; every entry from number geometry.taps() on serves the taps
  // beyond.
  WinnerOffsets(const int32_t* of_tap, int64_t length, const Geometry& geometry)
      : of_tap_(of_tap), length_(length), taps_(geometry.taps()) {
  }
  template <class Winner>
  int64_t operator[](Winner tap) const {
    return of_tap_[entry_of_tap(tap, length_)];
  }
  // Whether the first `entries` are all there are.
  bool fit(int64_t entries) const {
    return taps_ < entries;
  }
  const int32_t* of_tap() const {
    return of_tap_;
  }

 private:
  const int32_t* of_tap_;
  int64_t length_;
  int64_t taps_;
};

#if SCNP_AVX512_BLOCKS

// Offsets in registers: one instruction looks sixteen up in two of them.
template <int kEntries>
class OffsetsInRegisters {
 public:
  static constexpr int64_t kPlaces = 64;

  explicit OffsetsInRegisters(const WinnerOffsets& offsets) {
    for (int i = 0; i < kEntries / 16; ++i) {
      table_[i] = _mm512_loadu_si512(offsets.of_tap() + 16 * i);
    }
  }
  // Of `count` pixels of a row from number `first` on, at most 64: places[i], of the winner of
  // pixel first + i. Sixteen at a time: what follows the last of `count` is overwritten.
  SCNP_ALWAYS_INLINE void find_places(const uint8_t* taps, int64_t first, int64_t count,
                                      int32_t* places) const {
    __m512i pixel =
        _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(static_cast<int32_t>(first)));
    for (int64_t i = 0; i < count; i += 16) {
      const auto inside =
          static_cast<__mmask16>(_bzhi_u32(0xffff, static_cast<unsigned>(count - i)));
      const __m128i bytes = _mm_maskz_loadu_epi8(inside, taps + first + i);
      const __m512i entries =
          _mm512_cvtepu8_epi32(_mm_min_epu8(bytes, _mm_set1_epi8(kEntries - 1)));
      _mm512_store_si512(places + i, _mm512_add_epi32(pixel, look_up(entries)));
      pixel = _mm512_add_epi32(pixel, _mm512_set1_epi32(16));
    }
  }

 private:
  static_assert(kEntries == 32 || kEntries == 128);

  SCNP_ALWAYS_INLINE __m512i look_up(__m512i entries) const {
    const __m512i first = _mm512_permutex2var_epi32(table_[0], entries, table_[1]);
    if constexpr (kEntries == 32) {
      return first;
    } else {
      const __mmask16 odd = _mm512_test_epi32_mask(entries, _mm512_set1_epi32(32));
      const __mmask16 high = _mm512_test_epi32_mask(entries, _mm512_set1_epi32(64));
      const __m512i second = _mm512_permutex2var_epi32(table_[2], entries, table_[3]);
      const __m512i third = _mm512_permutex2var_epi32(table_[4], entries, table_[5]);
      const __m512i fourth = _mm512_permutex2var_epi32(table_[6], entries, table_[7]);
      return _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(first, odd, second), high,
                                   _mm512_mask_mov_epi32(third, odd, fourth));
    }
  }

  __m512i table_[kEntries / 16];
};

// Calls body(i, place) for every pixel i in [0, count), in ascending order. Two places are loaded
// at once: loads are what such loops wait for.
template <int kEntries, class Body>
SCNP_ALWAYS_INLINE void each_place_of_registers(const uint8_t* taps, int64_t count,
                                                const WinnerOffsets& offsets, const Body& body) {
  using Registers = OffsetsInRegisters<kEntries>;
  const Registers registers(offsets);
  alignas(64) int32_t places[Registers::kPlaces];
  for (int64_t first = 0; first < count; first += Registers::kPlaces) {
    const int64_t n = std::min(Registers::kPlaces, count - first);
    registers.find_places(taps, first, n, places);
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
      int64_t two[2];
      std::memcpy(two, places + i, sizeof(two));
      body(first + i, static_cast<int32_t>(two[0]));
      body(first + i + 1, two[0] >> 32);
      body(first + i + 2, static_cast<int32_t>(two[1]));
      body(first + i + 3, two[1] >> 32);
    }
    for (; i < n; ++i) {
      body(first + i, places[i]);
    }
  }
}

#endif

// Calls body(i, place) for every pixel i in [0, count), in ascending order.
template <class Winner, class Body>
SCNP_ALWAYS_INLINE void each_place(const Winner* taps, int64_t count, const WinnerOffsets& offsets,
                                   const Body& body) {
#if SCNP_AVX512_BLOCKS
  if constexpr (sizeof(Winner) == 1) {
    if (offsets.fit(32)) {
      return each_place_of_registers<32>(taps, count, offsets, body);
    }
    if (offsets.fit(128)) {
      return each_place_of_registers<128>(taps, count, offsets, body);
    }
  }
#endif
  for (int64_t i = 0; i < count; ++i) {
    body(i, i + offsets[taps[i]]);
  }
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
