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
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "tiles.h"
#include "winners.h"

namespace scnp::cpu {
namespace {

// Half types accumulate in float32 and are rounded once, when they are stored.
template <class T>
using Accumulator = std::conditional_t<sizeof(T) == 2, float, T>;

template <class T, class Winner>
class TileScatter {
 public:
  TileScatter(const ScatterCall& call, const Tile& tile)
      : call_(call), geometry_(call.geometry), tile_(tile) {
    for (int axis = 0; axis < kAxes; ++axis) {
      const int64_t reach = geometry_.reach(axis);
      sources_[axis] = tile.span[axis].grown(reach, geometry_.size[axis]);
      targets_[axis] = {sources_[axis].begin - reach, sources_[axis].end + reach};
    }
    row_length_ = targets_[kInner].length();
    plane_length_ = targets_[kMiddle].length() * row_length_;
    ring_depth_ = 2 * geometry_.reach(kOuter) + 1;
    // One more plane, never stored: where the winners end that no forward pass writes.
    accumulators_.assign((ring_depth_ + 1) * plane_length_, 0);
    taps_ = geometry_.taps();
    offsets_.resize(taps_ + 1);
  }

  void run() {
    const int64_t reach = geometry_.reach(kOuter);
    for (int64_t z = sources_[kOuter].begin; z < sources_[kOuter].end; ++z) {
      find_offsets(z);
      for (int64_t y = sources_[kMiddle].begin; y < sources_[kMiddle].end; ++y) {
        add_row(z, y);
      }
      close_plane(z - reach);
    }
    for (int64_t z = sources_[kOuter].end - reach; z < tile_.span[kOuter].end; ++z) {
      close_plane(z);
    }
  }

 private:
  Accumulator<T>* accumulator_plane(int64_t z) {
    const int64_t slot = (z - targets_[kOuter].begin) % ring_depth_;
    return accumulators_.data() + slot * plane_length_;
  }

  // offsets_[tap]: from the first accumulator to the winner of the pixel (z, 0, 0) of the targets.
  void find_offsets(int64_t z) {
    const int64_t nowhere = ring_depth_ * plane_length_;
    for (int64_t tap = 0; tap < taps_; ++tap) {
      const Displacement by = displacement_of_tap(geometry_, tap);
      offsets_[tap] = within_reach(geometry_, by)
                          ? accumulator_plane(z + by.axis[kOuter]) - accumulators_.data() +
                                by.axis[kMiddle] * row_length_ + by.axis[kInner]
                          : nowhere;
    }
    offsets_[taps_] = nowhere;
  }

  void add_row(int64_t z, int64_t y) {
    const int64_t begin = sources_[kInner].begin;
    const int64_t count = sources_[kInner].length();
    const View<const char>& gradient = call_.gradient;
    const View<const char>& winners = call_.winners;
    const T* values = reinterpret_cast<const T*>(gradient.data) +
                      gradient.offset(tile_.batch, tile_.channel, z, y, begin);
    const Winner* taps = reinterpret_cast<const Winner*>(winners.data) +
                         winners.offset(tile_.batch, tile_.channel, z, y, begin);
    const int64_t value_stride = gradient.axis[kInner];
    const int64_t tap_stride = winners.axis[kInner];
    Accumulator<T>* row = accumulators_.data() + (y - targets_[kMiddle].begin) * row_length_ +
                          (begin - targets_[kInner].begin);
    const int64_t* offsets = offsets_.data();
    const auto taps_count = static_cast<uint64_t>(taps_);
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t tap = std::min(static_cast<uint64_t>(taps[i * tap_stride]), taps_count);
      row[i + offsets[tap]] += static_cast<Accumulator<T>>(values[i * value_stride]);
    }
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
        const Accumulator<T>* __restrict row =
            plane + (y - targets_[kMiddle].begin) * row_length_ + begin - targets_[kInner].begin;
        T* __restrict out = reinterpret_cast<T*>(result.data) +
                            result.offset(tile_.batch, tile_.channel, z, y, begin);
        for (int64_t i = 0; i < count; ++i) {
          out[i * stride] = static_cast<T>(row[i]);
        }
      }
    }
    std::fill_n(plane, plane_length_, Accumulator<T>{0});
  }

  const ScatterCall& call_;
  const Geometry& geometry_;
  const Tile tile_;
  Span sources_[kAxes];  // pixels whose winner may be in the tile; inside the image
  Span targets_[kAxes];  // pixels that may be winners of those; may leave the image
  int64_t row_length_ = 0;
  int64_t plane_length_ = 0;
  int64_t ring_depth_ = 0;
  int64_t taps_ = 0;
  std::vector<Accumulator<T>> accumulators_;  // [ring_depth + 1, targets middle, targets inner]
  std::vector<int64_t> offsets_;              // [taps + 1]
};

template <class T>
void scatter_typed(const ScatterCall& call, const Workers& workers) {
  const Tiling tiling(call.geometry, workers.count);
  with_winner_type(call.winner_type, [&]<class Winner>(Winner /*type*/) {
    workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
      for (int64_t number = begin; number < end; ++number) {
        TileScatter<T, Winner>(call, tiling.tile(number)).run();
      }
    });
  });
}

}  // namespace

void scatter(const ScatterCall& call, const Workers& workers) {
  switch (call.type) {
    case FloatType::kFloat16:
      return scatter_typed<c10::Half>(call, workers);
    case FloatType::kBFloat16:
      return scatter_typed<c10::BFloat16>(call, workers);
    case FloatType::kFloat32:
      return scatter_typed<float>(call, workers);
    case FloatType::kFloat64:
      return scatter_typed<double>(call, workers);
  }
}

}  // namespace scnp::cpu
