// Eq. 2 on the CPU: every gradient goes to the winner of its pixel.
//
//   The pixels j of a tile (and of what its windows reach) are visited in raster order; each adds
//   its gradient to the accumulator of its winner i. So contributions arrive at i one by one in
//   raster order of j, on any number of threads, which makes the result bit-exact.
//
//     gradient, winners         ring of accumulator planes (window 3)         logits gradient
//
//     plane z  --- add --->     z+1   open
//                               z     open
//                               z-1   complete after plane z  --- store --->   plane z-1
//
//   Windows of 3 by 3 in 2D go the other way round where the machine has registers for it
//   (window3_2d-inl.h): there a pixel asks its neighbours whether they chose it.
//
//   A tile stores the accumulators of its interior, and no others. The planes have
//   margins, so that a pixel near the tile's edge adds to a neighbour tile's accumulator without a
//   branch; what lands there is dropped (the neighbour computes it itself).
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <limits>
#include <optional>
#include <type_traits>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../kernels.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"
#include "winner_offsets-inl.h"
#include "winners.h"
#if SCNP_REGISTERS
#include "window3_2d-inl.h"
#endif

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class T>
class TileScatter {
 public:
  TileScatter(const ScatterCall& call, const Tile& tile, int64_t channel)
      : call_(call), geometry_(call.geometry), tile_(tile), channel_(channel) {
    for (int axis = 0; axis < kAxes; ++axis) {
      const int64_t reach = geometry_.reach(axis);
      sources_[axis] = tile.span[axis].grown(reach, geometry_.size[axis]);
      targets_[axis] = {sources_[axis].begin - reach, sources_[axis].end + reach};
    }
    row_length_ = targets_[kInner].length();
    plane_length_ = targets_[kMiddle].length() * row_length_;
    ring_depth_ = 2 * geometry_.reach(kOuter) + 1;
    // One more plane, never stored, takes what corrupt winners add to.
    accumulators_ = scratch_.array<Accumulator<T>>((ring_depth_ + 1) * plane_length_);
    std::fill_n(accumulators_, (ring_depth_ + 1) * plane_length_, Accumulator<T>{0});
    row_values_ = scratch_.array<Accumulator<T>>(sources_[kInner].length());
    row_winners_ = scratch_.array<char>(sources_[kInner].length() * bytes_of(call.winner_type));
    plane_starts_ = scratch_.array<int64_t>(ring_depth_ + 1);
    plane_starts_[ring_depth_] = ring_depth_ * plane_length_;
    // A table of taps is made anew for every plane, which pays while it is smaller than the plane.
    const bool few_taps =
        geometry_.taps() <=
            std::max<int64_t>(256, sources_[kMiddle].length() * sources_[kInner].length()) &&
        (ring_depth_ + 1) * plane_length_ <= std::numeric_limits<int32_t>::max();
    if (few_taps) {
      offsets_.emplace(scratch_, geometry_, call.winner_type);
    } else {
      find_offsets_of_taps();
    }
  }

  // The planes whose pixels are visited. The caller takes them in ascending order: begin_plane(z),
  // then every row, in ascending order too.
  Span planes() const {
    return sources_[kOuter];
  }
  // The rows of a plane that are visited, and the pixels of a row.
  Span rows() const {
    return sources_[kMiddle];
  }
  Span columns() const {
    return sources_[kInner];
  }

  void begin_plane(int64_t z) {
    find_offsets(z);
  }
  // Adds each gradient of row (z, y) to the accumulator of its pixel's winner.
  void add_row(int64_t z, int64_t y) {
    const View<const char>& gradient = call_.gradient;
    const T* values = reinterpret_cast<const T*>(gradient.data) +
                      gradient.offset(tile_.batch, channel_, z, y, sources_[kInner].begin);
    const int64_t count = sources_[kInner].length();
    constexpr int64_t rows_ahead = 8;
    fetch_ahead(values + rows_ahead * gradient.axis[kMiddle], count, gradient.axis[kInner]);
    fetch_winners_ahead(
        call_.winners, call_.winner_type,
        call_.winners.offset(tile_.batch, channel_, z, y + rows_ahead, sources_[kInner].begin),
        count);
    add_row(z, y, widened(values, gradient.axis[kInner], count));
  }
  // As above, but adds `row_values` ([columns]) instead of the incoming gradient.
  void add_row(int64_t z, int64_t y, const Accumulator<T>* row_values) {
    const void* winners = winners_of_row(z, y);
    Accumulator<T>* row = row_of_accumulators(y);
    with_winner_type(call_.winner_type, [&]<class Winner>(Winner /*type*/) {
      add_to_winners(static_cast<const Winner*>(winners), row_values, row);
    });
  }
  // Adds each of `row_values` ([columns]) to the accumulator of its pixel itself.
  void add_row_in_place(int64_t z, int64_t y, const Accumulator<T>* row_values) {
    Accumulator<T>* row = row_of_accumulators(y) + (accumulator_plane(z) - accumulators_);
    const int64_t count = sources_[kInner].length();
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      row[i] += row_values[i];
    }
  }

  // Returns the winners of the visited pixels of row (z, y), valid until the next call. They are
  // contiguous, since AVX-512 looks up sixteen of them at once.
  const void* winners_of_row(int64_t z, int64_t y) {
    const int64_t offset =
        call_.winners.offset(tile_.batch, channel_, z, y, sources_[kInner].begin);
    return winners_of_pixels(call_.winners, call_.winner_type, offset, sources_[kInner].length(),
                             row_winners_);
  }

  // Returns the accumulators of the interior's plane z, complete when no later pixel adds to it:
  // those of its first row; the next row begins row_length() further on.
  const Accumulator<T>* interior_plane(int64_t z) {
    return accumulator_plane(z) +
           (tile_.span[kMiddle].begin - targets_[kMiddle].begin) * row_length_ +
           tile_.span[kInner].begin - targets_[kInner].begin;
  }
  int64_t row_length() const {
    return row_length_;
  }
  // Clears plane z, so that a later one can take its slot.
  void forget_plane(int64_t z) {
    std::fill_n(accumulator_plane(z), plane_length_, Accumulator<T>{0});
  }

 private:
  Accumulator<T>* accumulator_plane(int64_t z) {
    return accumulators_ + slot_of_plane(z) * plane_length_;
  }
  int64_t slot_of_plane(int64_t z) const {
    return (z - targets_[kOuter].begin) % ring_depth_;
  }

  // Where a tap's winner lies, seen from its pixel: planes from the first one that the window
  // reaches, and accumulators within a plane.
  struct TapOffset {
    int32_t plane;
    int32_t in_plane;
  };

  // Fills the table, for every tap and at least for every uint8.
  void find_offsets_of_taps() {
    tap_offsets_length_ = std::max<int64_t>(geometry_.taps() + 1, 256);
    tap_offsets_ = scratch_.array<TapOffset>(tap_offsets_length_);
    std::fill_n(tap_offsets_, tap_offsets_length_, TapOffset{static_cast<int32_t>(ring_depth_), 0});
    for (int64_t tap = 0; tap < geometry_.taps(); ++tap) {
      const Displacement by = displacement_of_tap(geometry_, tap);
      if (within_reach(geometry_, by)) {
        tap_offsets_[tap] = {
            static_cast<int32_t>(by.axis[kOuter] + geometry_.reach(kOuter)),
            static_cast<int32_t>(by.axis[kMiddle] * row_length_ + by.axis[kInner])};
      }
    }
  }

  // Finds where the planes begin that the windows of plane z reach, in ascending order; and from
  // that, with few taps, where every tap's winner lies.
  void find_offsets(int64_t z) {
    const int64_t reach[] = {geometry_.reach(kOuter), geometry_.reach(kMiddle)};
    int64_t slot = slot_of_plane(z - reach[0]);
    for (int64_t plane = 0; plane < ring_depth_; ++plane) {
      plane_starts_[plane] = slot * plane_length_;
      slot = slot + 1 == ring_depth_ ? 0 : slot + 1;
    }
    if (offsets_) {
      const int64_t nowhere = plane_starts_[ring_depth_];
      offsets_->find(
          [&](int64_t outer, int64_t middle) {
            const bool reached = std::abs(outer) <= reach[0] && std::abs(middle) <= reach[1];
            return reached ? plane_starts_[outer + reach[0]] + middle * row_length_ : nowhere;
          },
          nowhere);
    }
  }

  // What is done at a pixel, from the first one on.
  struct Adding {
    Accumulator<T>* row;
    const Accumulator<T>* values;

    SCNP_ALWAYS_INLINE void operator()(int64_t i, int64_t offset) const {
      row[offset] += values[i];
    }
    SCNP_ALWAYS_INLINE void advance(int64_t pixels) {
      row += pixels;
      values += pixels;
    }
  };
  template <class Winner>
  void add_to_winners(const Winner* winners, const Accumulator<T>* row_values,
                      Accumulator<T>* row) const {
    const int64_t count = sources_[kInner].length();
    if (offsets_) {
      each_winner(winners, count, *offsets_, Adding{row, row_values});
    } else {
      for (int64_t i = 0; i < count; ++i) {
        const TapOffset offset = tap_offsets_[entry_of_tap(winners[i], tap_offsets_length_)];
        row[i + plane_starts_[offset.plane] + offset.in_plane] += row_values[i];
      }
    }
  }

  // Returns the accumulator of row y's first visited pixel in the ring's first plane.
  Accumulator<T>* row_of_accumulators(int64_t y) const {
    return accumulators_ + (y - targets_[kMiddle].begin) * row_length_ +
           (sources_[kInner].begin - targets_[kInner].begin);
  }

  // Returns the row's values in the type in which they are added up, copied only if need be.
  const Accumulator<T>* widened(const T* values, int64_t stride, int64_t count) {
    if constexpr (std::is_same_v<T, Accumulator<T>>) {
      if (stride == 1) {
        return values;
      }
    }
    widen_row(call_.type, values, stride, count, row_values_);
    return row_values_;
  }

  const ScatterCall& call_;
  const Geometry& geometry_;
  const Tile tile_;
  const int64_t channel_;
  Span sources_[kAxes];  // pixels whose winner may be in the tile, inside the image
  Span targets_[kAxes];  // pixels that may be their winners; may leave the image
  int64_t row_length_ = 0;
  int64_t plane_length_ = 0;
  int64_t ring_depth_ = 0;
  Scratch scratch_;
  Accumulator<T>* accumulators_ = nullptr;  // [ring_depth + 1, targets middle, targets inner]
  Accumulator<T>* row_values_ = nullptr;    // [sources inner]
  char* row_winners_ = nullptr;             // [sources inner]
  int64_t* plane_starts_ = nullptr;         // [ring_depth + 1]
  std::optional<WinnerOffsets> offsets_;    // with few taps: counted from a row's first accumulator
  TapOffset* tap_offsets_ = nullptr;        // [tap_offsets_length_], with many
  int64_t tap_offsets_length_ = 0;
};

// All channels of a tile. For each plane the caller calls begin_plane(z), adds rows to the
// channels, and calls end_plane(z); after the last plane, finish().
template <class T>
class ScatterChannels {
 public:
  // in_cache: whether what is overwritten has just been read, so that to go around the cache would
  // cost more than to write into it.
  ScatterChannels(const ScatterCall& call, const Tile& tile, bool in_cache = false)
      : call_(call),
        tile_(tile),
        in_cache_(in_cache),
        rows_(scratch_, tile.channels.length(), tile.span[kInner].length(),
              strides_of(call.logits_gradient), sizeof(T), streams()),
        interior_planes_(scratch_.array<const Accumulator<T>*>(tile.channels.length())) {
    for (int64_t channel = tile.channels.begin; channel < tile.channels.end; ++channel) {
      channels_.emplace_back(call, tile, channel);
    }
    if constexpr (kNarrows) {
      narrow_rows_ = scratch_.array<T>(tile.channels.length() * tile.span[kInner].length());
    }
  }

  Span planes() const {
    return channels_.front().planes();
  }
  Span rows() const {
    return channels_.front().rows();
  }
  Span columns() const {
    return channels_.front().columns();
  }
  TileScatter<T>& operator[](int64_t channel) {
    return channels_[channel];
  }
  // Whether results go around the cache; they should not be prefetched then.
  bool streams() const {
    const ChannelStrides strides = strides_of(call_.logits_gradient);
    const bool by_rows = !kNarrows && strides.pixel == 1;
    return !in_cache_ && (by_rows || strides.interleaves(tile_.channels.length())) &&
           is_streamed(call_.geometry.logits() * static_cast<int64_t>(sizeof(T)));
  }

  void begin_plane(int64_t z) {
    for (auto& channel : channels_) {
      channel.begin_plane(z);
    }
  }
  void end_plane(int64_t z) {
    close_plane(z - call_.geometry.reach(kOuter));
  }
  void finish() {
    const int64_t reach = call_.geometry.reach(kOuter);
    for (int64_t z = planes().end - reach; z < tile_.span[kOuter].end; ++z) {
      close_plane(z);
    }
    finish_streaming();
  }

 private:
  static constexpr bool kNarrows = !std::is_same_v<T, Accumulator<T>>;

  // Stores the interior's plane z, to which no later pixel adds, and frees its slot.
  void close_plane(int64_t z) {
    if (tile_.span[kOuter].begin <= z && z < tile_.span[kOuter].end) {
      for (int64_t c = 0; c < tile_.channels.length(); ++c) {
        interior_planes_[c] = channels_[c].interior_plane(z);
      }
      for (int64_t y = 0; y < tile_.span[kMiddle].length(); ++y) {
        store_row(z, y);
      }
    }
    for (auto& channel : channels_) {
      channel.forget_plane(z);
    }
  }
  // Stores the y-th of the tile's rows.
  void store_row(int64_t z, int64_t y) {
    const View<char>& result = call_.logits_gradient;
    const int64_t count = tile_.span[kInner].length();
    T* out = reinterpret_cast<T*>(result.data) + result.offset(tile_.batch, tile_.channels.begin, z,
                                                               tile_.span[kMiddle].begin + y,
                                                               tile_.span[kInner].begin);
    const int64_t index = y * channels_.front().row_length();
    for (int64_t c = 0; c < tile_.channels.length(); ++c) {
      const Accumulator<T>* row = interior_planes_[c] + index;
      if constexpr (kNarrows) {
        const bool at_once = result.axis[kInner] == 1;
        T* narrowed = at_once ? out + c * result.channel : narrow_rows_ + c * count;
        narrow_row(call_.type, row, count, narrowed);
        rows_.set(c, narrowed);
      } else {
        rows_.set(c, row);
      }
    }
    if (!kNarrows || result.axis[kInner] != 1) {
      rows_.write(count, out);
    }
  }

  const ScatterCall& call_;
  const Tile tile_;
  const bool in_cache_;
  Scratch scratch_;
  std::deque<TileScatter<T>> channels_;
  RowsOfChannels rows_;
  const Accumulator<T>** interior_planes_;  // [channels], of the plane that is stored
  T* narrow_rows_ = nullptr;                // [channels, tile columns], of half types
};

template <class T>
void scatter_tile(const ScatterCall& call, const Tile& tile) {
#if SCNP_REGISTERS
  if constexpr (std::is_same_v<Accumulator<T>, float>) {
    if (ScatterWindow3In2D<T>::serves(call)) {
      return ScatterWindow3In2D<T>(call, tile).run();
    }
  }
#endif
  ScatterChannels<T> channels(call, tile);
  for (int64_t z = channels.planes().begin; z < channels.planes().end; ++z) {
    channels.begin_plane(z);
    for (int64_t c = 0; c < tile.channels.length(); ++c) {
      for (int64_t y = channels.rows().begin; y < channels.rows().end; ++y) {
        channels[c].add_row(z, y);
      }
    }
    channels.end_plane(z);
  }
  channels.finish();
}

template <class T>
void scatter(const ScatterCall& call, const Workers& workers) {
  const int64_t together = channels_together(call.geometry, call.winners);
  const Tiling tiling(call.geometry, together, together, workers.count);
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      scatter_tile<T>(call, tiling.tile(number));
    }
  });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
