// Eq. 1 on the CPU: a masked maximum over a box, separable, carrying (key, tap) of both classes.
//
//   One tile of one channel, marching along the outer axis (window 3):
//
//     logits, target         ring of reduced planes            penalized, winners
//
//     plane z+1  --- row pass, then middle pass --->  z+1 \                              .
//     plane z                                         z    >-- outer pass -->  plane z   .
//     plane z-1                                       z-1 /    pick own class
//
//     row pass     a row, from one key per pixel:     best of x-1, x, x+1  -> (key, tap x)
//     middle pass  3D only, from the reduced rows:    best of y-1, y, y+1  -> (key, tap y,x)
//     outer pass   from the ring:                     best of z-1, z, z+1  -> (key, tap z,y,x)
//
//   Every pixel is a candidate of exactly one class: its key stands in that class's row, and
//   "no candidate" in the other's. Each pass visits its sources in ascending order and replaces
//   only on strict `>`, so the winner is the first in raster order.
#include <array>
#include <memory>
#include <vector>

#include "first_best.h"
#include "kernels.h"
#include "ordered_keys.h"
#include "pixel_classes.h"
#include "tiles.h"

namespace scnp::cpu {
namespace {

constexpr int kClasses = 2;  // kBackground, kForeground

template <class Key, class Tap>
using BothClasses = std::array<Candidates<Key, Tap>, kClasses>;

// Storage for `rows` rows of `length` candidates of both classes.
template <class Key, class Tap>
class CandidateRows {
 public:
  CandidateRows(int64_t rows, int64_t length)
      : rows_(rows),
        length_(length),
        keys_(new Key[kClasses * rows * length]),
        taps_(new Tap[kClasses * rows * length]) {
  }

  BothClasses<Key, Tap> row(int64_t index) const {
    BothClasses<Key, Tap> both;
    for (int c = 0; c < kClasses; ++c) {
      const int64_t at = (c * rows_ + index) * length_;
      both[c] = {keys_.get() + at, taps_.get() + at};
    }
    return both;
  }

 private:
  int64_t rows_;
  int64_t length_;
  std::unique_ptr<Key[]> keys_;
  std::unique_ptr<Tap[]> taps_;
};

// The background's candidates become the result: the bits of the winning logit, and its tap.
template <class Key, class Tap>
void pick_own_class(const PixelClass* __restrict classes, Tap centre_tap, int64_t n,
                    const Key* __restrict foreground_key, const Tap* __restrict foreground_tap,
                    Key* __restrict key, Tap* __restrict tap) {
  for (int64_t i = 0; i < n; ++i) {
    const bool foreground = classes[i] == kForeground;
    const bool invalid = classes[i] == kInvalid;
    const Key own_key = foreground ? static_cast<Key>(~foreground_key[i]) : key[i];
    const Tap own_tap = foreground ? foreground_tap[i] : tap[i];
    key[i] = flip_negative(own_key);
    tap[i] = invalid ? centre_tap : own_tap;
  }
}

template <class Format, class Tap>
class TileForward {
  using Key = typename Format::Bits;

 public:
  TileForward(const ForwardCall& call, const Tile& tile)
      : call_(call),
        geometry_(call.geometry),
        tile_(tile),
        columns_(tile.span[kInner].grown(reach(kInner), geometry_.size[kInner])),
        rows_(tile.span[kMiddle].grown(reach(kMiddle), geometry_.size[kMiddle])),
        row_length_(tile.span[kInner].length()),
        plane_length_(tile.span[kMiddle].length() * row_length_),
        ring_depth_(2 * reach(kOuter) + 1),
        input_(1, row_length_ + 2 * reach(kInner)),
        input_classes_(columns_.length()),
        reduced_rows_(reach(kMiddle) > 0 ? rows_.length() : 0, row_length_),
        ring_(ring_depth_, plane_length_),
        ring_classes_(ring_depth_ * plane_length_),
        best_(1, row_length_) {
  }

  Fault run() {
    // Columns outside the image stay without a candidate for the whole march.
    for (const auto& candidates : input_.row(0)) {
      std::fill_n(candidates.key, row_length_ + 2 * reach(kInner), kNoCandidate<Key>);
    }
    const Span outer = tile_.span[kOuter];
    int64_t next = outer.grown(reach(kOuter), geometry_.size[kOuter]).begin;
    for (int64_t z = outer.begin; z < outer.end; ++z) {
      const Span needed = Span{z, z + 1}.grown(reach(kOuter), geometry_.size[kOuter]);
      for (; next < needed.end; ++next) {
        reduce_plane(next);
      }
      emit_plane(z, needed);
    }
    return fault_;
  }

 private:
  int64_t reach(int axis) const {
    return geometry_.reach(axis);
  }
  BothClasses<Key, Tap> ring_row(int64_t plane, int64_t row) const {
    BothClasses<Key, Tap> both = ring_.row(plane % ring_depth_);
    for (auto& candidates : both) {
      candidates.key += (row - tile_.span[kMiddle].begin) * row_length_;
      candidates.tap += (row - tile_.span[kMiddle].begin) * row_length_;
    }
    return both;
  }
  PixelClass* ring_classes(int64_t plane, int64_t row) {
    return ring_classes_.data() + (plane % ring_depth_) * plane_length_ +
           (row - tile_.span[kMiddle].begin) * row_length_;
  }

  void reduce_plane(int64_t plane) {
    const Span own = tile_.span[kMiddle];
    for (int64_t row = rows_.begin; row < rows_.end; ++row) {
      read_row(plane, row);
      const BothClasses<Key, Tap> reduced =
          reach(kMiddle) > 0 ? reduced_rows_.row(row - rows_.begin) : ring_row(plane, row);
      const BothClasses<Key, Tap> input = input_.row(0);
      const Tap first_tap = static_cast<Tap>(geometry_.window[kInner] / 2 - reach(kInner));
      for (int c = 0; c < kClasses; ++c) {
        const auto source = [&](int64_t s) {
          return PixelSource<Key, Tap>{input[c].key + s, static_cast<Tap>(first_tap + s)};
        };
        first_best_of(2 * reach(kInner) + 1, source, row_length_, reduced[c]);
      }
      if (own.begin <= row && row < own.end) {
        std::copy_n(input_classes_.data() + tile_.span[kInner].begin - columns_.begin, row_length_,
                    ring_classes(plane, row));
      }
    }
    if (reach(kMiddle) == 0) {
      if (geometry_.window[kMiddle] > 1) {
        add_taps(plane);
      }
      return;
    }
    const Tap step = static_cast<Tap>(geometry_.window[kInner]);
    for (int64_t row = own.begin; row < own.end; ++row) {
      const Span sources = Span{row, row + 1}.grown(reach(kMiddle), geometry_.size[kMiddle]);
      const Tap first_tap =
          static_cast<Tap>((sources.begin - row + geometry_.window[kMiddle] / 2) * step);
      for (int c = 0; c < kClasses; ++c) {
        const auto source = [&](int64_t s) {
          const Candidates<Key, Tap> from = reduced_rows_.row(sources.begin + s - rows_.begin)[c];
          return CandidateSource<Key, Tap>{from.key, from.tap,
                                           static_cast<Tap>(first_tap + s * step)};
        };
        first_best_of(sources.length(), source, row_length_, ring_row(plane, row)[c]);
      }
    }
  }

  // A window that is wide along an axis of one pixel: nothing to compare, but the taps count it.
  void add_taps(int64_t plane) {
    const Tap base = static_cast<Tap>(geometry_.window[kMiddle] / 2 * geometry_.window[kInner]);
    for (const auto& candidates : ring_.row(plane % ring_depth_)) {
      for (int64_t i = 0; i < plane_length_; ++i) {
        candidates.tap[i] = static_cast<Tap>(candidates.tap[i] + base);
      }
    }
  }

  void read_row(int64_t plane, int64_t row) {
    read_pixel_classes(call_.target, geometry_, tile_.batch, tile_.channel, plane, row,
                       columns_.begin, columns_.length(), input_classes_.data(), fault_);
    const View<const char>& logits = call_.logits;
    const Key* source = reinterpret_cast<const Key*>(logits.data) +
                        logits.offset(tile_.batch, tile_.channel, plane, row, columns_.begin);
    const int64_t at = columns_.begin - (tile_.span[kInner].begin - reach(kInner));
    const BothClasses<Key, Tap> input = input_.row(0);
    if (logits.axis[kInner] == 1) {
      make_keys<true>(source, 1, input[kBackground].key + at, input[kForeground].key + at);
    } else {
      make_keys<false>(source, logits.axis[kInner], input[kBackground].key + at,
                       input[kForeground].key + at);
    }
  }

  template <bool kUnitStride>
  void make_keys(const Key* __restrict source, int64_t stride, Key* __restrict background,
                 Key* __restrict foreground) {
    const PixelClass* __restrict classes = input_classes_.data();
    const int64_t n = columns_.length();
    for (int64_t i = 0; i < n; ++i) {
      const Key key = background_key<Format>(source[kUnitStride ? i : i * stride]);
      background[i] = classes[i] == kBackground ? key : kNoCandidate<Key>;
      foreground[i] = classes[i] == kForeground ? foreground_key(key) : kNoCandidate<Key>;
    }
  }

  void emit_plane(int64_t plane, Span needed) {
    const Tap step = static_cast<Tap>(geometry_.window[kMiddle] * geometry_.window[kInner]);
    const Tap first_tap =
        static_cast<Tap>((needed.begin - plane + geometry_.window[kOuter] / 2) * step);
    const BothClasses<Key, Tap> best = best_.row(0);
    for (int64_t row = tile_.span[kMiddle].begin; row < tile_.span[kMiddle].end; ++row) {
      for (int c = 0; c < kClasses; ++c) {
        const auto source = [&](int64_t s) {
          const Candidates<Key, Tap> from = ring_row(needed.begin + s, row)[c];
          return CandidateSource<Key, Tap>{from.key, from.tap,
                                           static_cast<Tap>(first_tap + s * step)};
        };
        first_best_of(needed.length(), source, row_length_, best[c]);
      }
      pick_own_class(ring_classes(plane, row), static_cast<Tap>(geometry_.centre_tap()),
                     row_length_, best[kForeground].key, best[kForeground].tap,
                     best[kBackground].key, best[kBackground].tap);
      write_row(plane, row, best[kBackground], ring_classes(plane, row));
    }
  }

  void write_row(int64_t plane, int64_t row, Candidates<Key, Tap> result,
                 const PixelClass* classes) {
    const int64_t begin = tile_.span[kInner].begin;
    if (call_.target.has_ignore_index || call_.target.has_mask) {
      const View<const char>& logits = call_.logits;
      const Key* source = reinterpret_cast<const Key*>(logits.data) +
                          logits.offset(tile_.batch, tile_.channel, plane, row, begin);
      for (int64_t i = 0; i < row_length_; ++i) {
        if (classes[i] == kInvalid) {
          result.key[i] = source[i * logits.axis[kInner]];
        }
      }
    }
    store(call_.penalized, plane, row, result.key, Key{});
    switch (call_.winner_type) {
      case WinnerType::kUInt8:
        return store(call_.winners, plane, row, result.tap, uint8_t{});
      case WinnerType::kInt16:
        return store(call_.winners, plane, row, result.tap, int16_t{});
      case WinnerType::kInt32:
        return store(call_.winners, plane, row, result.tap, int32_t{});
    }
  }

  template <class From, class To>
  void store(const View<char>& view, int64_t plane, int64_t row, const From* __restrict values,
             To /*type*/) {
    To* __restrict out =
        reinterpret_cast<To*>(view.data) +
        view.offset(tile_.batch, tile_.channel, plane, row, tile_.span[kInner].begin);
    const int64_t stride = view.axis[kInner];
    if (stride == 1) {
      for (int64_t i = 0; i < row_length_; ++i) {
        out[i] = static_cast<To>(values[i]);
      }
    } else {
      for (int64_t i = 0; i < row_length_; ++i) {
        out[i * stride] = static_cast<To>(values[i]);
      }
    }
  }

  const ForwardCall& call_;
  const Geometry& geometry_;
  const Tile tile_;
  const Span columns_;  // the tile's columns and what its windows reach, inside the image
  const Span rows_;     // likewise along the middle axis
  const int64_t row_length_;
  const int64_t plane_length_;
  const int64_t ring_depth_;
  CandidateRows<Key, Tap> input_;          // 1 row of keys, with margins (taps unused)
  std::vector<PixelClass> input_classes_;  // of the columns of that row
  CandidateRows<Key, Tap> reduced_rows_;   // one plane, after the row pass (3D)
  CandidateRows<Key, Tap> ring_;           // the last planes, after the middle pass
  std::vector<PixelClass> ring_classes_;   // [ring_depth, plane_length]
  CandidateRows<Key, Tap> best_;           // 1 row, after the outer pass
  Fault fault_;
};

template <class Format, class Tap>
Fault forward_typed(const ForwardCall& call, const Workers& workers) {
  const Tiling tiling(call.geometry, workers.count);
  std::vector<Fault> faults(tiling.count());
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      faults[number] = TileForward<Format, Tap>(call, tiling.tile(number)).run();
    }
  });
  Fault first;
  for (const Fault& fault : faults) {
    first.merge(fault);
  }
  return first;
}

// Taps travel in lanes as wide as the keys, so that one vector register holds as many of both.
template <class Format>
Fault forward_16_bit(const ForwardCall& call, const Workers& workers) {
  return call.winner_type == WinnerType::kInt32 ? forward_typed<Format, int32_t>(call, workers)
                                                : forward_typed<Format, int16_t>(call, workers);
}

}  // namespace

Fault forward(const ForwardCall& call, const Workers& workers) {
  switch (call.type) {
    case FloatType::kFloat16:
      return forward_16_bit<Float16Format>(call, workers);
    case FloatType::kBFloat16:
      return forward_16_bit<BFloat16Format>(call, workers);
    case FloatType::kFloat32:
      return forward_typed<Float32Format, int32_t>(call, workers);
    case FloatType::kFloat64:
      return forward_typed<Float64Format, int64_t>(call, workers);
  }
  return {};
}

}  // namespace scnp::cpu
