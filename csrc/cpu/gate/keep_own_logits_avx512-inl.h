// The loop behind own_logits-inl.h in AVX-512, for winners of one byte: comparing 64 bytes of the
// gate gives one mask, which then moves logits and winners.
#pragma once

#include "../targets/prologue_registers.h"

#include <cstdint>

#include "../tiling/plane_layout-inl.h"
#include "../vector/registers-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// gate, own, penalized, winners: [n]. Nothing beyond is read or written: rows lie flat, and the
// last one need not end with a block.
template <class Key>
void keep_own_logits_of_blocks(const uint8_t* gate, const Key* own, uint8_t centre_tap, int64_t n,
                               Key* penalized, uint8_t* winners) {
  using Register = KeyRegister<Key>;
  for (int64_t block = 0; block < n; block += kBlock) {
    const int64_t rest = n - block;
    const __mmask64 inside = rest >= kBlock ? ~__mmask64{0} : (__mmask64{1} << rest) - 1;
    const __m512i open = _mm512_maskz_loadu_epi8(inside, gate + block);
    const __mmask64 closed = _mm512_mask_testn_epi8_mask(inside, open, open);
    if (closed == 0) {
      continue;
    }
    typename Register::Mask masks[kRegistersPerBlock<Key>];
    masks_of_registers<Key>(closed, masks);
    for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
      const int64_t i = block + r * kKeysPerRegister<Key>;
      const auto mask = masks[r];
      Register::store_where(mask, penalized + i,
                            Register::load_where(mask, own + i, _mm512_setzero_si512()));
    }
    _mm512_mask_storeu_epi8(winners + block, closed,
                            _mm512_set1_epi8(static_cast<char>(centre_tap)));
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
