// Takes the gradients of rows of pixels, which are found one after the other, to the pixels'
// winners: adds them to these, or in windows of three by three in 2D, keeps three rows and lets
// every pixel collect what its neighbours send it, where the machine has registers for that.
#pragma once

#include "../targets/prologue.h"

#include <cstdint>
#include <optional>
#include <type_traits>

#include "../../contract/calls.h"
#include "../memory/scratch.h"
#include "../scatter/scatter-inl.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"
#include "../vector/lanes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// For each plane the caller calls begin_plane(z); for each of its rows it asks for the winners,
// fills values_of_row(z), and adds the row; then it calls end_plane(z), and after the last plane
// finish().
template <class T>
class GradientRows {
  using Real = Accumulator<T>;

 public:
  // in_place: whether gradients are also added to the pixels themselves. in_cache: see
  // ScatterChannels.
  GradientRows(const ScatterCall& call, const Tile& tile, [[maybe_unused]] bool in_place,
               bool in_cache) {
#if SCNP_REGISTERS
    if constexpr (kMayCollect) {
      if (!in_place && ScatterWindow3In2D<T>::serves(call)) {
        collected_.emplace(call, tile, in_cache);
        return;
      }
    }
#endif
    channels_.emplace(call, tile, in_cache);
    stride_ = (columns().length() + kGroup - 1) / kGroup * kGroup;
    values_ = scratch_.array<Real>(tile.channels.length() * stride_);
  }

  // The planes whose pixels are visited, the rows of a plane, and the pixels of a row.
  Span planes() const {
    return choose(*this, [](const auto& way) { return way.planes(); });
  }
  Span rows() const {
    return choose(*this, [](const auto& way) { return way.rows(); });
  }
  Span columns() const {
    return choose(*this, [](const auto& way) { return way.columns(); });
  }
  // Whether results go around the cache; they should not be prefetched then.
  bool streams() const {
    return choose(*this, [](const auto& way) { return way.streams(); });
  }

  void begin_plane(int64_t z) {
    if (channels_) {
      channels_->begin_plane(z);
    }
  }
  // Returns the winners of class k in row (z, y), contiguous.
  const void* winners_of_row(int64_t k, int64_t z, int64_t y) {
#if SCNP_REGISTERS
    if constexpr (kMayCollect) {
      if (collected_) {
        return collected_->winners_of_row(z, k);
      }
    }
#endif
    return (*channels_)[k].winners_of_row(z, y);
  }
  // Where the gradients of a row of plane z go: [columns, in whole groups] of class k at
  // values_of_row(z) + k * stride().
  Real* values_of_row([[maybe_unused]] int64_t z) {
#if SCNP_REGISTERS
    if constexpr (kMayCollect) {
      if (collected_) {
        return collected_->values_of_row(z);
      }
    }
#endif
    return values_;
  }
  int64_t stride() const {
#if SCNP_REGISTERS
    if constexpr (kMayCollect) {
      if (collected_) {
        return collected_->stride_of_values();
      }
    }
#endif
    return stride_;
  }
  // Takes the row's values to the winners of class k.
  void add_row(int64_t k, int64_t z, int64_t y) {
    if (channels_) {
      (*channels_)[k].add_row(z, y, values_ + k * stride_);
    }
  }
  // Takes them to the pixels themselves.
  void add_row_in_place(int64_t k, int64_t z, int64_t y) {
    (*channels_)[k].add_row_in_place(z, y, values_ + k * stride_);
  }
  void end_plane(int64_t z) {
    choose(*this, [z](auto& way) { way.end_plane(z); });
  }
  void finish() {
    choose(*this, [](auto& way) { way.finish(); });
  }

 private:
  static constexpr bool kMayCollect = SCNP_REGISTERS && std::is_same_v<Real, float>;

  // Calls body with what takes the gradients to their winners. rows: const, or not.
  template <class Rows, class Body>
  static auto choose(Rows& rows, const Body& body) {
#if SCNP_REGISTERS
    if constexpr (kMayCollect) {
      if (rows.collected_) {
        return body(*rows.collected_);
      }
    }
#endif
    return body(*rows.channels_);
  }

  Scratch scratch_;
  std::optional<ScatterChannels<T>> channels_;
#if SCNP_REGISTERS
  struct Nothing {};
  std::conditional_t<kMayCollect, std::optional<ScatterWindow3In2D<T>>, Nothing> collected_;
#endif
  int64_t stride_ = 0;
  Real* values_ = nullptr;  // [C, stride], of a row
};

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
