// The gradient of Dice + cross entropy's statistics, back to the logits of one tile.
//
//   The pixels j of a tile (and of what its windows reach) are visited in raster order, as in
//   scatter-inl.h. For a row of them and all classes at once:
//
//     winners of j   ->  the logits there: j's penalized logits, so its probabilities
//     codes, statistics' gradient  ->  j's gradient with respect to them
//     scatter: it goes to j's winner; the plain term's, to j itself
//
//   Penalized logits and probabilities are computed again rather than kept: that costs less than
//   memory does.
//
//   The gradient may be written over the logits (logits_gradient is then the same memory): tiles
//   keep a copy of the logits around them, and are made large enough for the copies to be small.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../kernels.h"
#include "../memory/scratch.h"
#include "../scatter/scatter-inl.h"
#include "../scatter/winners.h"
#include "../tiling/tiles.h"
#include "forward-inl.h"
#include "gradient_rows-inl.h"
#include "kept_halo-inl.h"
#include "logits_at_winners-inl.h"
#include "pixel_loss-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class T>
class TileDiceCEBackward {
  using Real = Accumulator<T>;

 public:
  TileDiceCEBackward(const DiceCEBackwardCall& call, const ScatterCall& scatter, const Tile& tile,
                     const KeptHalo<T>* halo = nullptr)
      : call_(call),
        geometry_(scatter.geometry),
        tile_(tile),
        classes_(scatter, tile_, call.of_plain, halo != nullptr),
        columns_(classes_.columns()) {
    const int64_t classes = geometry_.channels;
    at_winners_.emplace(scratch_, call.type, call.winner_type, geometry_, call.logits, tile_.batch,
                        std::array<Span, kAxes>{classes_.planes(), classes_.rows(), columns_},
                        halo);
    padded_columns_ = classes_.stride();
    const int64_t code_rows = call.target.is_masks ? classes : 1;
    codes_ = scratch_.array<uint8_t>(code_rows * padded_columns_);
    wide_codes_ = scratch_.array<MaskOf<Real>>(code_rows * padded_columns_);
    std::fill_n(codes_, code_rows * padded_columns_, kInvalidPixel);
    logits_ = scratch_.array<Real>(classes * padded_columns_);
    std::fill_n(logits_, classes * padded_columns_, Real{0});
    for (int term = 0; term < 2; ++term) {
      statistics_gradient_.emplace_back(scratch_, classes, call.gamma);
      statistics_gradient_[term].start(call.statistics_gradient, geometry_, term, tile_.batch);
    }
  }

  void run() {
    const Span planes = classes_.planes();
    const Span rows = classes_.rows();
    for (int64_t z = planes.begin; z < planes.end; ++z) {
      classes_.begin_plane(z);
      at_winners_->start_plane(z);
      for (int64_t y = rows.begin; y < rows.end; ++y) {
        add_row(z, y);
      }
      classes_.end_plane(z);
    }
    classes_.finish();
  }

 private:
  void add_row(int64_t z, int64_t y) {
    fetch_row_ahead(z, y);
    at_winners_->start_row(z, y);
    const PixelCodes<Real> codes = read_codes(z, y);
    if (call_.of_penalized) {
      read_penalized_logits(z, y);
      find_gradient(statistics_gradient_[0], codes, z);
      for (int64_t k = 0; k < geometry_.channels; ++k) {
        classes_.add_row(k, z, y);
      }
    }
    // The plain term's gradient stays with its pixel, so only this tile's pixels count.
    const bool in_tile = tile_.span[kOuter].begin <= z && z < tile_.span[kOuter].end &&
                         tile_.span[kMiddle].begin <= y && y < tile_.span[kMiddle].end;
    if (call_.of_plain && in_tile) {
      read_plain_logits(z, y);
      find_gradient(statistics_gradient_[1], codes, z);
      for (int64_t k = 0; k < geometry_.channels; ++k) {
        classes_.add_row_in_place(k, z, y);
      }
    }
  }

  // Prefetches what this row of the next plane needs, and where the row will be stored that is
  // complete by then.
  void fetch_row_ahead(int64_t z, int64_t y) {
    const View<char>& gradient = call_.logits_gradient;
    const int64_t x = columns_.begin;
    const int64_t count = columns_.length();
    for (int64_t k = 0; k < (call_.target.is_masks ? geometry_.channels : 1); ++k) {
      fetch_class_codes(call_.target, {k, k + 1}, {tile_.batch, z + 1, y, x, count});
    }
    at_winners_->fetch_row_ahead(z, y);
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      if (call_.of_penalized) {
        fetch_winners_ahead(call_.winners, call_.winner_type,
                            call_.winners.offset(tile_.batch, k, z + 1, y, x), count);
      }
      if (!classes_.streams()) {
        const T* result = reinterpret_cast<const T*>(gradient.data);
        fetch_ahead<true>(
            result + gradient.offset(tile_.batch, k, z - geometry_.reach(kOuter), y, x), count,
            gradient.axis[kInner]);
      }
    }
  }

  PixelCodes<Real> read_codes(int64_t z, int64_t y) {
    Target target = call_.target;
    target.validate = false;  // the forward pass has validated it
    Fault none;
    const PixelRow row{tile_.batch, z, y, columns_.begin, columns_.length()};
    if (!target.is_masks) {
      read_class_codes(target, geometry_, tile_.channels, row, codes_, none);
      widen_codes(1);
      return {wide_codes_, 0};
    }
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      read_class_codes(target, geometry_, {k, k + 1}, row, codes_ + k * padded_columns_, none);
    }
    widen_codes(geometry_.channels);
    return {wide_codes_, padded_columns_};
  }
  void widen_codes(int64_t rows) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < rows * padded_columns_; ++i) {
      wide_codes_[i] = codes_[i];
    }
  }

  void read_penalized_logits(int64_t z, int64_t y) {
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      at_winners_->read(k, z, y, classes_.winners_of_row(k, z, y), logits_ + k * padded_columns_);
    }
  }
  void read_plain_logits(int64_t z, int64_t y) {
    for (int64_t k = 0; k < geometry_.channels; ++k) {
      std::copy_n(at_winners_->at_pixels(k, z, y), columns_.length(),
                  logits_ + k * padded_columns_);
    }
  }
  void find_gradient(const DiceCEGradient<Real>& statistics_gradient, const PixelCodes<Real>& codes,
                     int64_t z) {
    statistics_gradient.find({logits_, padded_columns_}, codes,
                             (columns_.length() + kGroup - 1) / kGroup, call_.softmax,
                             classes_.values_of_row(z), padded_columns_);
  }

  const DiceCEBackwardCall& call_;
  const Geometry& geometry_;
  const Tile tile_;
  Scratch scratch_;
  GradientRows<T> classes_;
  const Span columns_;  // pixels of a row
  std::optional<LogitsAtWinners<T>> at_winners_;
  std::vector<DiceCEGradient<Real>> statistics_gradient_;  // penalized, plain
  int64_t padded_columns_ = 0;                             // in whole groups
  uint8_t* codes_ = nullptr;                               // [C or 1, padded columns]
  MaskOf<Real>* wide_codes_ = nullptr;                     // likewise
  Real* logits_ = nullptr;                                 // [C, padded columns]
};

// Copies of logits that may be made where the gradient is written over them: a sixteenth of a byte
// per logit, and in any case what fits a cache. Returns that in bytes.
inline int64_t most_bytes_of_halos(const Geometry& geometry) {
  return std::max<int64_t>(geometry.logits() / 16, 256 * 1024);
}

// The tiles of as many images at a time as may keep their halos at once. The threads meet between
// the copies and the tiles: a neighbour may begin as soon as nothing needs its logits.
template <class T>
void dice_ce_backward_in_place(const DiceCEBackwardCall& call, const ScatterCall& scatter,
                               Tiling tiling, const Workers& workers) {
  const Geometry& geometry = scatter.geometry;
  std::array<int64_t, kAxes> reach{};
  for (int axis = 0; axis < kAxes; ++axis) {
    reach[axis] = 2 * geometry.reach(axis);  // to a pixel's neighbours, and to their winners
  }
  const int64_t most =
      most_bytes_of_halos(geometry) / static_cast<int64_t>(sizeof(T)) / geometry.channels;
  const int64_t of_image = tiling.enlarge_for_halos(reach, most);
  const int64_t images =
      of_image == 0 ? geometry.batch : std::clamp<int64_t>(most / of_image, 1, geometry.batch);
  const int64_t tiles_of_image = tiling.count() / geometry.batch;
  for (int64_t image = 0; image < geometry.batch; image += images) {
    const int64_t first = image * tiles_of_image;
    const int64_t tiles = std::min(images, geometry.batch - image) * tiles_of_image;
    std::vector<KeptHalo<T>> halos;
    std::vector<T*> memory;
    Scratch scratch;
    for (int64_t number = first; number < first + tiles; ++number) {
      halos.emplace_back(geometry, call.type, call.logits, tiling.tile(number), reach);
      memory.push_back(scratch.array<T>(halos.back().count()));
    }
    workers.run(tiles, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        halos[i].save(memory[i]);
      }
    });
    workers.run(tiles, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        TileDiceCEBackward<T>(call, scatter, tiling.tile(first + i), &halos[i]).run();
      }
    });
  }
}

template <class T>
void dice_ce_backward(const DiceCEBackwardCall& call, const Workers& workers) {
  ScatterCall scatter;
  scatter.geometry = geometry_of_loss(call);
  scatter.type = call.type;
  scatter.winner_type = call.winner_type;
  scatter.winners = call.winners;
  scatter.logits_gradient = call.logits_gradient;
  const int64_t classes = scatter.geometry.channels;
  // Planes are larger than a class's share, as in the forward pass.
  const int64_t together = std::min<int64_t>((classes + 1) / 2, 8);
  const Tiling tiling(scatter.geometry, classes, together, workers.count);
  if (call.logits_gradient.data == call.logits.data) {
    return dice_ce_backward_in_place<T>(call, scatter, tiling, workers);
  }
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      TileDiceCEBackward<T>(call, scatter, tiling.tile(number)).run();
    }
  });
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
