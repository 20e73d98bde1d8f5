// Eq. 1 on the CPU, for one channel of a tile: a masked maximum over a box, separable, carrying
// (key, tap) of both classes, marching along the outer axis.
//
//     logits, codes                reduced planes of the window (window 3)     penalized, winners
//
//     plane z+1  -- rows, columns -->   z+1  --,
//       .                               z    --+-- along the march, of the  -->  plane z
//       .                               z-1  --'   pixel's own class
#pragma once

#include "any_window-inl.h"
#if SCNP_AVX512_BLOCKS
#include "window3_avx512-inl.h"
#include "window5to15_2d_avx512-inl.h"
#endif

namespace scnp::cpu::SCNP_CAPABILITY {

template <class Format, class Tap, class Winner>
class PenalizedPlanes {
  using Key = typename Format::Bits;

 public:
  PenalizedPlanes(Scratch& scratch, const Geometry& geometry, const Tile& tile,
                  const PlaneLayout& layout)
      : passes_(choose(scratch, geometry, tile, layout)) {
  }

  // logits: of this channel; of pixel (z, y, x) at the sum of index times stride.
  void start(const Key* logits, const int64_t (&strides)[kAxes], uint8_t own_code) {
    std::visit([&](auto& chosen) { chosen.start(logits, strides, own_code); }, passes_);
  }

  // The plane z of the tile, in ascending order of z: flat, [own rows] at the layout's pitch.
  // codes: as far as the windows of plane z reach. streamed: penalized around the cache, if
  // may_stream().
  void plane(int64_t z, const TileCodes& codes, Key* penalized, Winner* winners,
             bool streamed = false) {
    std::visit([&](auto& chosen) { chosen.plane(z, codes, penalized, winners, streamed); },
               passes_);
  }
  // Whether it asks for the codes of the planes to come while it works on one: they are then best
  // read step by step.
  bool asks_for_codes() const {
    return passes_.index() == kIn2D;
  }
  static bool may_stream(const Key* penalized) {
    constexpr bool by_lines = SCNP_AVX512_BLOCKS && sizeof(Tap) == 1;
    return by_lines && reinterpret_cast<uintptr_t>(penalized) % kCacheLine == 0;
  }

 private:
  // Alternatives of Passes.
  static constexpr size_t kAny = 0;
  static constexpr size_t kOfThree = 1;
  static constexpr size_t kIn2D = 2;
#if SCNP_AVX512_BLOCKS
  using Passes = std::conditional_t<
      sizeof(Tap) == 1 && sizeof(Winner) == 1,
      std::variant<AnyWindows<Format, Tap, Winner>, WindowsOfThree<Format>, WindowsIn2D<Format>>,
      std::variant<AnyWindows<Format, Tap, Winner>>>;
#else
  using Passes = std::variant<AnyWindows<Format, Tap, Winner>>;
#endif
  static Passes choose(Scratch& scratch, const Geometry& geometry, const Tile& tile,
                       const PlaneLayout& layout) {
#if SCNP_AVX512_BLOCKS
    if constexpr (std::variant_size_v<Passes> == 3) {
      if (WindowsOfThree<Format>::serves(geometry, layout)) {
        return Passes(std::in_place_index<kOfThree>, scratch, geometry, tile, layout);
      }
      if (WindowsIn2D<Format>::serves(geometry, layout)) {
        return Passes(std::in_place_index<kIn2D>, scratch, geometry, tile, layout);
      }
    }
#endif
    return Passes(std::in_place_index<kAny>, scratch, geometry, tile, layout);
  }

  Passes passes_;
};

}  // namespace scnp::cpu::SCNP_CAPABILITY
