// The loop behind read_class_codes() in AVX2, for labels of eight bytes: compilers take many more
// steps to narrow them to one.
//
//     32 labels, 8 registers    a low half each, made 255 where the high half is not 0
//     packed to bytes           those that are no channel become kNoClass
#pragma once

#include "../targets/prologue_registers.h"

#include <cstdint>

#include "class_codes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Writes the codes of the first of [n] labels, in blocks of 32, among `count` channels, at most
// 255, the first of which has class `first`. Returns how many they are.
inline int64_t codes_of_whole_blocks(const int64_t* labels, int64_t first, int64_t count, int64_t n,
                                     uint8_t* codes) {
  const __m256i first_class = _mm256_set1_epi64x(first);
  const __m256i channels = _mm256_set1_epi8(static_cast<char>(count));
  const __m256i most = _mm256_set1_epi32(255);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i eight[4];
    for (int j = 0; j < 4; ++j) {
      const auto* four = reinterpret_cast<const __m256i*>(labels + i + 8 * j);
      const __m256 a = _mm256_castsi256_ps(_mm256_sub_epi64(_mm256_loadu_si256(four), first_class));
      const __m256 b =
          _mm256_castsi256_ps(_mm256_sub_epi64(_mm256_loadu_si256(four + 1), first_class));
      const __m256i low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
      const __m256i high = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
      const __m256i is_small = _mm256_cmpeq_epi32(high, _mm256_setzero_si256());
      eight[j] = _mm256_or_si256(_mm256_min_epu32(low, most), _mm256_andnot_si256(is_small, most));
    }
    // The low halves hold the first two of every four labels.
    const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(eight[0], eight[1]),
                                              _mm256_packus_epi32(eight[2], eight[3]));
    const __m128i halves[2] = {_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)};
    const __m256i channel = _mm256_setr_m128i(_mm_unpacklo_epi16(halves[0], halves[1]),
                                              _mm_unpackhi_epi16(halves[0], halves[1]));
    const __m256i outside = _mm256_cmpeq_epi8(_mm256_max_epu8(channel, channels), channel);
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(codes + i),
        _mm256_blendv_epi8(channel, _mm256_set1_epi8(static_cast<char>(kNoClass)), outside));
  }
  return i;
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
