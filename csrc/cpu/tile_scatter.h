// Eq. 2 on the CPU: every gradient goes to the winner of its pixel.
//
//   The pixels j of a tile (and of what its windows reach) are visited in raster order; each adds
//   its gradient to the accumulator of its winner i. So contributions arrive at i one by one in
//   raster order of j, on any number of threads, which makes the result bit-exact.
//
//     gradient, winners         ring of accumulator planes (window 3)         logits gradient
//
//     plane z  --- add --->     z+1   open                                                    .
//                               z     open
//                               z-1   complete after plane z  --- store --->   plane z-1
//
//   A tile owns the accumulators of its own pixels and stores only these. The planes have margins,
//   so that a pixel near the tile's edge adds to a neighbour tile's accumulator without a branch;
//   what lands there is dropped (the neighbour computes it itself).
#pragma once

#include "half_floats.h"
#include "strided.h"

namespace scnp::cpu::SCNP_CAPABILITY {

template <class T, class Winner>
class TileScatter {
 public:
  TileScatter(const ScatterCall& call, const Tile& tile, int64_t channel)
      : call_(call),
        geometry_(call.geometry),
        tile_(tile),
        channel_(channel),
        streamed_(streams()) {
    for (int axis = 0; axis < kAxes; ++axis) {
      const int64_t reach = geometry_.reach(axis);
      sources_[axis] = tile.span[axis].grown(reach, geometry_.size[axis]);
      targets_[axis] = {sources_[axis].begin - reach, sources_[axis].end + reach};
    }
    row_length_ = targets_[kInner].length();
    plane_length_ = targets_[kMiddle].length() * row_length_;
    ring_depth_ = 2 * geometry_.reach(kOuter) + 1;
    // One more plane, never stored: where the winners end that no forward pass writes.
    accumulators_ = scratch_.array<Accumulator<T>>((ring_depth_ + 1) * plane_length_);
    std::fill_n(accumulators_, (ring_depth_ + 1) * plane_length_, Accumulator<T>{0});
    row_values_ = scratch_.array<Accumulator<T>>(sources_[kInner].length());
    plane_starts_ = scratch_.array<int64_t>(ring_depth_ + 1);
    plane_starts_[ring_depth_] = ring_depth_ * plane_length_;
    table_length_ = std::max<int64_t>(geometry_.taps() + 1, 256);
    few_taps_ = table_length_ <=
                std::max<int64_t>(256, sources_[kMiddle].length() * sources_[kInner].length());
    offsets_ = scratch_.array<int64_t>(few_taps_ ? table_length_ : 0);
    std::fill_n(offsets_, few_taps_ ? table_length_ : 0, plane_starts_[ring_depth_]);
    find_places_of_taps();
  }

  // Planes whose pixels are visited, in ascending order: add(z) each, then finish().
  Span planes() const {
    return sources_[kOuter];
  }
  // Rows of a plane that are visited, and pixels of a row.
  Span rows() const {
    return sources_[kMiddle];
  }
  Span columns() const {
    return sources_[kInner];
  }

  void add(int64_t z) {
    begin_plane(z);
    for (int64_t y = sources_[kMiddle].begin; y < sources_[kMiddle].end; ++y) {
      const View<const char>& gradient = call_.gradient;
      const T* values = reinterpret_cast<const T*>(gradient.data) +
                        gradient.offset(tile_.batch, channel_, z, y, sources_[kInner].begin);
      add_row(z, y, widened(values, gradient.axis[kInner], sources_[kInner].length()));
    }
    end_plane(z);
  }

  // The same in steps, for values that are computed row by row: begin_plane(z), each row in
  // ascending order, end_plane(z).
  void begin_plane(int64_t z) {
    find_offsets(z);
  }
  void end_plane(int64_t z) {
    close_plane(z - geometry_.reach(kOuter));
  }
  // row_values: [columns] of row (z, y); each goes to its pixel's winner.
  void add_row(int64_t z, int64_t y, const Accumulator<T>* row_values) {
    const int64_t count = sources_[kInner].length();
    const View<const char>& winners = call_.winners;
    const Winner* taps = reinterpret_cast<const Winner*>(winners.data) +
                         winners.offset(tile_.batch, channel_, z, y, sources_[kInner].begin);
    Accumulator<T>* row = row_of_accumulators(y);
    const int64_t tap_stride = winners.axis[kInner];
    // One by one: a later pixel may add to the same winner.
    if (few_taps_) {
      for (int64_t i = 0; i < count; ++i) {
        row[i + offsets_[place_of(taps[i * tap_stride])]] += row_values[i];
      }
    } else {
      for (int64_t i = 0; i < count; ++i) {
        const Place place = places_[place_of(taps[i * tap_stride])];
        row[i + plane_starts_[place.plane] + place.in_plane] += row_values[i];
      }
    }
  }
  // row_values: likewise; each stays with its own pixel.
  void add_row_in_place(int64_t z, int64_t y, const Accumulator<T>* row_values) {
    Accumulator<T>* row = row_of_accumulators(y) + (accumulator_plane(z) - accumulators_);
    const int64_t count = sources_[kInner].length();
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      row[i] += row_values[i];
    }
  }

  // Whether results go around the cache: then nothing of theirs should be asked into it.
  bool streams() const {
    return std::is_same_v<T, Accumulator<T>> && call_.logits_gradient.axis[kInner] == 1 &&
           is_streamed(geometry_.logits() * static_cast<int64_t>(sizeof(T)));
  }

  void finish() {
    const int64_t reach = geometry_.reach(kOuter);
    for (int64_t z = sources_[kOuter].end - reach; z < tile_.span[kOuter].end; ++z) {
      close_plane(z);
    }
    finish_streaming();
  }

 private:
  Accumulator<T>* accumulator_plane(int64_t z) {
    const int64_t slot = (z - targets_[kOuter].begin) % ring_depth_;
    return accumulators_ + slot * plane_length_;
  }

  // Where a tap's winner lies, seen from its pixel: planes ahead of the first that the window
  // reaches, and accumulators ahead within a plane.
  struct Place {
    int32_t plane;
    int32_t in_plane;
  };

  void find_places_of_taps() {
    const Place nowhere{static_cast<int32_t>(ring_depth_), 0};
    places_ = scratch_.array<Place>(table_length_);
    std::fill_n(places_, table_length_, nowhere);
    for (int64_t tap = 0; tap < geometry_.taps(); ++tap) {
      const Displacement by = displacement_of_tap(geometry_, tap);
      if (within_reach(geometry_, by)) {
        places_[tap] = {static_cast<int32_t>(by.axis[kOuter] + geometry_.reach(kOuter)),
                        static_cast<int32_t>(by.axis[kMiddle] * row_length_ + by.axis[kInner])};
      }
    }
  }

  // Where the planes that the windows of plane z reach begin, in ascending order; and from that,
  // while it is less work than using it, where every tap's winner lies.
  void find_offsets(int64_t z) {
    const int64_t first = z - geometry_.reach(kOuter);
    for (int64_t plane = 0; plane < ring_depth_; ++plane) {
      plane_starts_[plane] = accumulator_plane(first + plane) - accumulators_;
    }
    if (few_taps_) {
      for (int64_t tap = 0; tap < geometry_.taps(); ++tap) {
        offsets_[tap] = plane_starts_[places_[tap].plane] + places_[tap].in_plane;
      }
    }
  }

  // Where the first visited pixel of row y has its accumulator in the ring's first plane.
  Accumulator<T>* row_of_accumulators(int64_t y) const {
    return accumulators_ + (y - targets_[kMiddle].begin) * row_length_ +
           (sources_[kInner].begin - targets_[kInner].begin);
  }

  // The entry of a winner in the tables. No number, whoever wrote it, leads outside of them.
  int64_t place_of(Winner tap) const {
    if constexpr (sizeof(Winner) == 1) {
      return tap;
    } else {
      const auto number = static_cast<uint64_t>(tap);
      return static_cast<int64_t>(std::min(number, static_cast<uint64_t>(table_length_ - 1)));
    }
  }

  // The row's values as they are added up; a copy only where they have to be converted.
  const Accumulator<T>* widened(const T* values, int64_t stride, int64_t count) {
    if constexpr (std::is_same_v<T, Accumulator<T>>) {
      if (stride == 1) {
        return values;
      }
    }
    with_stride(stride, [&](auto step) {
      SCNP_VECTORIZE
      for (int64_t i = 0; i < count; ++i) {
        row_values_[i] = widen(values[i * step]);
      }
    });
    return row_values_;
  }

  void store_row(const Accumulator<T>* row, int64_t count, int64_t stride, T* out) {
    if constexpr (std::is_same_v<T, Accumulator<T>>) {
      return spread_row(row, count, stride, out, streamed_);
    }
    with_stride(stride, [&](auto step) {
      SCNP_VECTORIZE
      for (int64_t i = 0; i < count; ++i) {
        narrow(row[i], out[i * step]);
      }
    });
  }

  // No later pixel adds to plane z: store what this tile owns of it, and free its slot.
  void close_plane(int64_t z) {
    Accumulator<T>* plane = accumulator_plane(z);
    if (tile_.span[kOuter].begin <= z && z < tile_.span[kOuter].end) {
      const View<char>& result = call_.logits_gradient;
      const int64_t begin = tile_.span[kInner].begin;
      const int64_t count = tile_.span[kInner].length();
      const int64_t stride = result.axis[kInner];
      for (int64_t y = tile_.span[kMiddle].begin; y < tile_.span[kMiddle].end; ++y) {
        const Accumulator<T>* row =
            plane + (y - targets_[kMiddle].begin) * row_length_ + begin - targets_[kInner].begin;
        T* out =
            reinterpret_cast<T*>(result.data) + result.offset(tile_.batch, channel_, z, y, begin);
        store_row(row, count, stride, out);
      }
    }
    std::fill_n(plane, plane_length_, Accumulator<T>{0});
  }

  const ScatterCall& call_;
  const Geometry& geometry_;
  const Tile tile_;
  const int64_t channel_;
  const bool streamed_;
  Span sources_[kAxes];  // pixels whose winner may be in the tile; inside the image
  Span targets_[kAxes];  // pixels that may be winners of those; may leave the image
  int64_t row_length_ = 0;
  int64_t plane_length_ = 0;
  int64_t ring_depth_ = 0;
  Scratch scratch_;
  Accumulator<T>* accumulators_ = nullptr;  // [ring_depth + 1, targets middle, targets inner]
  Accumulator<T>* row_values_ = nullptr;    // [sources inner]
  int64_t* plane_starts_ = nullptr;         // [ring_depth + 1]
  int64_t table_length_ = 0;                // every tap, and at least every uint8
  Place* places_ = nullptr;                 // [table_length]
  bool few_taps_ = false;
  int64_t* offsets_ = nullptr;  // [table_length] with few taps: from the first accumulator of a row
};

template <class T, class Winner>
void scatter_tile(const ScatterCall& call, const Tile& tile) {
  std::deque<TileScatter<T, Winner>> channels;
  for (int64_t channel = tile.channels.begin; channel < tile.channels.end; ++channel) {
    channels.emplace_back(call, tile, channel);
  }
  const Span planes = channels.front().planes();
  for (int64_t z = planes.begin; z < planes.end; ++z) {
    for (auto& channel : channels) {
      channel.add(z);
    }
  }
  for (auto& channel : channels) {
    channel.finish();
  }
}

template <class T>
void scatter_typed(const ScatterCall& call, const Workers& workers) {
  const int64_t together = channels_together(call.geometry, call.winners);
  const Tiling tiling(call.geometry, together, together, workers.count);
  with_winner_type(call.winner_type, [&]<class Winner>(Winner /*type*/) {
    workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
      for (int64_t number = begin; number < end; ++number) {
        scatter_tile<T, Winner>(call, tiling.tile(number));
      }
    });
  });
}

inline void scatter(const ScatterCall& call, const Workers& workers) {
  switch (call.type) {
    case FloatType::kFloat16:
      return scatter_typed<Float16>(call, workers);
    case FloatType::kBFloat16:
      return scatter_typed<BFloat16>(call, workers);
    case FloatType::kFloat32:
      return scatter_typed<float>(call, workers);
    case FloatType::kFloat64:
      return scatter_typed<double>(call, workers);
  }
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
