// Registers of keys and of bytes, of the instruction set at hand: what the passes that keep a
// window in registers are written with. One source serves every instruction set; only the
// operations of registers_avx2-inl.h and registers_avx512-inl.h are written for each.
//
//     kPixels bytes (taps, class codes)    1 register
//     kPixels keys                         as many registers as a key has bytes
//     PixelMask                            which of kPixels pixels: a bit, or a byte, for each
//     KeyRegister<Key>::Mask               which of one register's keys
//
// SCNP_REGISTERS (prologue.h) says whether the instruction set has them.
#pragma once

#include "../targets/prologue_registers.h"

#if SCNP_AVX512
#include "registers_avx512-inl.h"
#elif SCNP_AVX2
#include "registers_avx2-inl.h"
#endif

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class Key>
constexpr int kKeysPerRegister = kPixels / static_cast<int>(sizeof(Key));
template <class Key>
constexpr int kRegistersPerBlock = sizeof(Key);

// So many registers of a block go through the passes side by side: what they hold should fit into
// the registers that the instruction set has.
template <class Key>
constexpr int kRegistersAtOnce = kHasManyRegisters ? kRegistersPerBlock<Key> : 1;

// Loads and stores the logits of kPixels pixels.
template <class Key>
SCNP_ALWAYS_INLINE void load_block(const Key* from, Register (&bits)[sizeof(Key)]) {
  SCNP_UNROLL
  for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
    bits[r] = KeyRegister<Key>::load(from + r * kKeysPerRegister<Key>);
  }
}
template <class Key>
SCNP_ALWAYS_INLINE void store_block(Key* to, const Register (&bits)[sizeof(Key)]) {
  SCNP_UNROLL
  for (int r = 0; r < kRegistersPerBlock<Key>; ++r) {
    KeyRegister<Key>::store(to + r * kKeysPerRegister<Key>, bits[r]);
  }
}
template <class Key>
SCNP_ALWAYS_INLINE bool has_rare(const Key* logits, Infinity<Key> infinity) {
  Register bits[kRegistersPerBlock<Key>];
  load_block<Key>(logits, bits);
  return has_rare<Key>(bits, infinity);
}

// The masks of a block's registers, as they come. They are joined as soon as all are there: then
// there is one instead of many to be held.
template <class Key>
class BlockMask {
  using Keys = KeyRegister<Key>;

 public:
  SCNP_ALWAYS_INLINE void set(int r, const typename Keys::Mask* masks) {
    SCNP_UNROLL
    for (int i = 0; i < kRegistersAtOnce<Key>; ++i) {
      masks_[r + i] = masks[i];
    }
    if (r + kRegistersAtOnce<Key> == kRegistersPerBlock<Key>) {
      joined_ = Keys::joined(masks_);
    }
  }
  SCNP_ALWAYS_INLINE PixelMask joined() const {
    return joined_;
  }

 private:
  typename Keys::Mask masks_[kRegistersPerBlock<Key>];
  PixelMask joined_;
};

// The first best of three candidates for each of a block's pixels, in ascending order.
template <class Key>
class FirstOfThree {
  using Keys = KeyRegister<Key>;
  static constexpr int kAtOnce = kRegistersAtOnce<Key>;

 public:
  // Puts the best keys in the place of the first ones.
  SCNP_ALWAYS_INLINE void choose(int r, Register* first, const Register* second,
                                 const Register* third) {
    replace(r, first, second, second_);
    replace(r, first, third, third_);
  }
  // Where the second was better than the first, and the third better than both.
  SCNP_ALWAYS_INLINE PixelMask second() const {
    return second_.joined();
  }
  SCNP_ALWAYS_INLINE PixelMask third() const {
    return third_.joined();
  }

 private:
  static SCNP_ALWAYS_INLINE void replace(int r, Register* best, const Register* other,
                                         BlockMask<Key>& where) {
    typename Keys::Mask better[kAtOnce];
    SCNP_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      better[i] = Keys::greater(other[i], best[i]);
      best[i] = Keys::larger(other[i], best[i]);
    }
    where.set(r, better);
  }

  BlockMask<Key> second_;
  BlockMask<Key> third_;
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
