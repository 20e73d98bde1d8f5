// The gradient of Dice + cross entropy's sums, back to the logits of one tile.
//
//   The pixels j of a tile (and of what its windows reach) are visited in raster order, as in
//   tile_scatter.h. For a row of them and all classes at once:
//
//     winners of j   ->  the logits there: j's penalized logits, so its probabilities
//     codes, sums' gradient  ->  j's gradient with respect to them
//     scatter: each goes to j's winner; of the plain term, to j itself
//
//   Penalized logits and probabilities are computed again rather than kept: that costs less than
//   memory does.
#pragma once

#include "dice_ce_pixels.h"
#include "tile_dice_ce_forward.h"
#include "tile_scatter.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// The logits at the winners of a row: the penalized logits again.
template <class Format, class Winner>
class LogitsAtWinners {
  using Key = typename Format::Bits;

 public:
  LogitsAtWinners(Scratch& scratch, const Geometry& geometry, const View<const char>& logits)
      : geometry_(geometry), logits_(logits) {
    few_taps_ = geometry.taps() <= 1024;
    // Every tap that a winner's type can name, as far as a table may go.
    table_length_ = few_taps_ ? std::max<int64_t>(geometry.taps() + 1, 256) : 0;
    offsets_ = scratch.array<int64_t>(table_length_);
  }

  // Before the rows (z, y) are read.
  void start_row(int64_t z, int64_t y) {
    if (!few_taps_) {
      return;
    }
    const Span planes = inside(z, kOuter);
    const Span rows = inside(y, kMiddle);
    if (known_ && same(planes, planes_) && same(rows, rows_)) {
      return;
    }
    known_ = true;
    planes_ = planes;
    rows_ = rows;
    // A tap that leads out of the image is no forward pass's; it stays with its own pixel.
    std::fill_n(offsets_, table_length_, int64_t{0});
    for (int64_t tap = 0; tap < geometry_.taps(); ++tap) {
      const Displacement by = displacement_of_tap(geometry_, tap);
      if (holds(planes, by.axis[kOuter]) && holds(rows, by.axis[kMiddle])) {
        offsets_[tap] = offset(by);
      }
    }
  }

  // out: [count], of the pixels (z, y, x_begin + i) of one class. taps: of the same pixels.
  void read(int64_t b, int64_t k, int64_t z, int64_t y, Span columns, const Winner* taps,
            int64_t tap_stride, Key* out) const {
    const Key* row =
        reinterpret_cast<const Key*>(logits_.data) + logits_.offset(b, k, z, y, columns.begin);
    const int64_t stride = logits_.axis[kInner];
    // The row that the next plane's windows reach first: winners lead there in no order that the
    // machine foresees.
    fetch_ahead(row + (geometry_.reach(kOuter) + 1) * logits_.axis[kOuter],
                columns.length() * stride);
    if (!few_taps_) {
      for (int64_t i = 0; i < columns.length(); ++i) {
        out[i] = row[i * stride + checked(taps[i * tap_stride], z, y, columns.begin + i)];
      }
      return;
    }
    // Only near the border can a tap lead out of the row.
    const int64_t reach = geometry_.reach(kInner);
    const int64_t first = std::clamp(reach - columns.begin, int64_t{0}, columns.length());
    const int64_t last =
        std::clamp(geometry_.size[kInner] - reach - columns.begin, first, columns.length());
    for (int64_t i = 0; i < first; ++i) {
      out[i] = row[i * stride + checked(taps[i * tap_stride], z, y, columns.begin + i)];
    }
    for (int64_t i = first; i < last; ++i) {
      out[i] = row[i * stride + offsets_[place_of(taps[i * tap_stride])]];
    }
    for (int64_t i = last; i < columns.length(); ++i) {
      out[i] = row[i * stride + checked(taps[i * tap_stride], z, y, columns.begin + i)];
    }
  }

 private:
  // The displacements along an axis that stay inside the image.
  Span inside(int64_t at, int axis) const {
    const int64_t reach = geometry_.reach(axis);
    return {std::max(-reach, -at), std::min(reach, geometry_.size[axis] - 1 - at) + 1};
  }
  static bool same(Span a, Span b) {
    return a.begin == b.begin && a.end == b.end;
  }
  static bool holds(Span span, int64_t value) {
    return span.begin <= value && value < span.end;
  }
  int64_t offset(const Displacement& by) const {
    int64_t sum = 0;
    for (int axis = 0; axis < kAxes; ++axis) {
      sum += by.axis[axis] * logits_.axis[axis];
    }
    return sum;
  }
  int64_t place_of(Winner tap) const {
    if constexpr (sizeof(Winner) == 1) {
      return tap;
    } else {
      const auto number = static_cast<uint64_t>(tap);
      return static_cast<int64_t>(std::min(number, static_cast<uint64_t>(table_length_ - 1)));
    }
  }
  int64_t checked(Winner tap, int64_t z, int64_t y, int64_t x) const {
    if (static_cast<uint64_t>(tap) >= static_cast<uint64_t>(geometry_.taps())) {
      return 0;
    }
    const Displacement by = displacement_of_tap(geometry_, static_cast<int64_t>(tap));
    const bool is_inside = holds(inside(z, kOuter), by.axis[kOuter]) &&
                           holds(inside(y, kMiddle), by.axis[kMiddle]) &&
                           holds(inside(x, kInner), by.axis[kInner]);
    return is_inside ? offset(by) : 0;
  }

  const Geometry& geometry_;
  const View<const char>& logits_;
  bool few_taps_ = false;
  int64_t table_length_ = 0;
  int64_t* offsets_ = nullptr;  // [table_length], for rows whose windows are clipped alike
  bool known_ = false;
  Span planes_;
  Span rows_;
};

template <class T, class Format, class Winner>
class TileDiceCEBackward {
  using Key = typename Format::Bits;
  using Real = Accumulator<T>;

 public:
  TileDiceCEBackward(const DiceCEBackwardCall& call, const ScatterCall& scatter, const Tile& tile)
      : call_(call),
        geometry_(scatter.geometry),
        tile_(tile),
        block_(scratch_, geometry_.channels),
        at_winners_(scratch_, geometry_, call.logits) {
    const int64_t classes = geometry_.channels;
    for (int64_t k = 0; k < classes; ++k) {
      scatters_.emplace_back(scatter, tile_, k);
    }
    columns_ = scatters_.front().columns();
    places_ = whole_blocks(columns_.length());
    const int64_t code_rows = call.target.is_masks ? classes : 1;
    codes_ = scratch_.array<uint8_t>(code_rows * places_);
    std::fill_n(codes_, code_rows * places_, kInvalidPixel);
    bits_ = scratch_.array<Key>(places_);
    std::fill_n(bits_, places_, Key{0});
    logits_ = scratch_.array<Real>(classes * places_);
    row_gradient_ = scratch_.array<Real>(classes * places_);
    for (int term = 0; term < 2; ++term) {
      sums_gradient_.emplace_back(scratch_, classes);
      sums_gradient_[term].start(call.sums_gradient, geometry_, term, tile_.batch);
    }
  }

  void run() {
    const Span planes = scatters_.front().planes();
    const Span rows = scatters_.front().rows();
    for (int64_t z = planes.begin; z < planes.end; ++z) {
      for (auto& scatter : scatters_) {
        scatter.begin_plane(z);
      }
      for (int64_t y = rows.begin; y < rows.end; ++y) {
        add_row(z, y);
      }
      for (auto& scatter : scatters_) {
        scatter.end_plane(z);
      }
    }
    for (auto& scatter : scatters_) {
      scatter.finish();
    }
  }

 private:
  void add_row(int64_t z, int64_t y) {
    const BlockCodes codes = read_codes(z, y);
    if (call_.of_penalized) {
      read_penalized_logits(z, y);
      find_gradient(sums_gradient_[0], codes);
      for (int64_t k = 0; k < geometry_.channels; ++k) {
        scatters_[k].add_row(z, y, row_gradient_ + k * places_);
      }
    }
    // A plain logit's gradient is its own pixel's, so another tile's pixels are of no interest.
    const bool own = tile_.span[kOuter].begin <= z && z < tile_.span[kOuter].end &&
                     tile_.span[kMiddle].begin <= y && y < tile_.span[kMiddle].end;
    if (call_.of_plain && own) {
      read_plain_logits(z, y);
      find_gradient(sums_gradient_[1], codes);
      for (int64_t k = 0; k < geometry_.channels; ++k) {
        scatters_[k].add_row_in_place(z, y, row_gradient_ + k * places_);
      }
    }
  }

  BlockCodes read_codes(int64_t z, int64_t y) {
    Target target = call_.target;
    target.validate = false;  // the forward pass has done it
    Fault none;
    const RowPlace place{tile_.batch, z, y, columns_.begin, columns_.length()};
    if (!target.is_masks) {
      read_pixel_codes(target, geometry_, tile_.channels, place, codes_, none);
      return {codes_, 0};
    }
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      read_pixel_codes(target, geometry_, {k, k + 1}, place, codes_ + k * places_, none);
    }
    return {codes_, places_};
  }

  void read_penalized_logits(int64_t z, int64_t y) {
    at_winners_.start_row(z, y);
    const View<const char>& winners = call_.winners;
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      const Winner* taps = reinterpret_cast<const Winner*>(winners.data) +
                           winners.offset(tile_.batch, k, z, y, columns_.begin);
      at_winners_.read(tile_.batch, k, z, y, columns_, taps, winners.axis[kInner], bits_);
      widen_row(bits_, logits_ + k * places_);
    }
  }
  void read_plain_logits(int64_t z, int64_t y) {
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      const Key* row = reinterpret_cast<const Key*>(call_.logits.data) +
                       call_.logits.offset(tile_.batch, k, z, y, columns_.begin);
      gather_row(row, call_.logits.axis[kInner], columns_.length(), bits_);
      widen_row(bits_, logits_ + k * places_);
    }
  }
  void widen_row(const Key* bits, Real* numbers) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < places_; ++i) {
      numbers[i] = number_of_bits<Format>(bits[i]);
    }
  }

  void find_gradient(const DiceCEGradient<Real>& sums_gradient, const BlockCodes& codes) {
    for (int64_t begin = 0; begin < places_; begin += kBlock) {
      for (int64_t k = 0; k < geometry_.channels; ++k) {
        std::copy_n(logits_ + k * places_ + begin, kBlock, block_.logit + k * kBlock);
      }
      if (call_.softmax) {
        sums_gradient.softmax(block_, codes.from(begin), row_gradient_ + begin, places_);
      } else {
        sums_gradient.sigmoid(block_, codes.from(begin), row_gradient_ + begin, places_);
      }
    }
  }

  const DiceCEBackwardCall& call_;
  const Geometry& geometry_;
  const Tile tile_;
  Scratch scratch_;
  ProbabilityBlock<Real> block_;
  LogitsAtWinners<Format, Winner> at_winners_;
  std::deque<TileScatter<T, Winner>> scatters_;      // [C]
  std::vector<DiceCEGradient<Real>> sums_gradient_;  // penalized, plain
  Span columns_;                                     // pixels of a row
  int64_t places_ = 0;                               // of them, in whole blocks
  uint8_t* codes_ = nullptr;                         // [C or 1, places]
  Key* bits_ = nullptr;                              // [places], one class
  Real* logits_ = nullptr;                           // [C, places]
  Real* row_gradient_ = nullptr;                     // [C, places]
};

template <class T, class Format, class Winner>
void dice_ce_backward_typed(const DiceCEBackwardCall& call, const Workers& workers) {
  ScatterCall scatter;
  scatter.geometry = geometry_of_loss(call);
  scatter.type = call.type;
  scatter.winner_type = call.winner_type;
  scatter.winners = call.winners;
  scatter.logits_gradient = call.logits_gradient;
  const int64_t classes = scatter.geometry.channels;
  const Tiling tiling(scatter.geometry, classes, classes, workers.count);
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      TileDiceCEBackward<T, Format, Winner>(call, scatter, tiling.tile(number)).run();
    }
  });
}

inline void dice_ce_backward(const DiceCEBackwardCall& call, const Workers& workers) {
  with_winner_type(call.winner_type, [&]<class Winner>(Winner /*type*/) {
    switch (call.type) {
      case FloatType::kFloat16:
        return dice_ce_backward_typed<Float16, Float16Format, Winner>(call, workers);
      case FloatType::kBFloat16:
        return dice_ce_backward_typed<BFloat16, BFloat16Format, Winner>(call, workers);
      case FloatType::kFloat32:
        return dice_ce_backward_typed<float, Float32Format, Winner>(call, workers);
      case FloatType::kFloat64:
        return dice_ce_backward_typed<double, Float64Format, Winner>(call, workers);
    }
  });
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
