// The statistics of Dice + cross entropy over one tile. The penalized logits of all classes of a
// plane become probabilities at once, and these statistics; only the winners are stored.
//
//     class 0   march -> penalized plane z \                        winners -> memory
//     class 1   march -> penalized plane z  >  probabilities  ->  statistics of the chunk
//     class 2   march -> penalized plane z /   (16 pixels at a time)
//
// Statistics are added up over chunks of planes, and chunks in ascending order. Neither depends on
// the number of threads, so the result does not.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../gate/own_logits-inl.h"
#include "../kernels.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../penalize/penalized_planes-inl.h"
#include "../scatter/winners.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"
#include "codes-inl.h"
#include "logits_at_winners-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Returns the geometry with the window that the loss needs: the pixel itself, if there is only the
// plain term, which has no neighbours.
inline Geometry geometry_of_loss(const DiceCECall& call) {
  Geometry geometry = call.geometry;
  if (!call.of_penalized) {
    std::fill_n(geometry.window, kAxes, 1);
  }
  return geometry;
}

// The statistics of every chunk of every image: [2, kDiceCEStatistics, C] each.
class ChunkStatistics {
 public:
  ChunkStatistics(const Geometry& geometry, int64_t columns, int64_t planes_per_chunk)
      : geometry_(geometry),
        chunks_per_column_((geometry.size[kOuter] + planes_per_chunk - 1) / planes_per_chunk),
        planes_per_chunk_(planes_per_chunk),
        chunks_(columns * chunks_per_column_),
        statistics_(geometry.batch * chunks_ * length()) {
  }

  bool is_last_of_chunk(int64_t z) const {
    return (z + 1) % planes_per_chunk_ == 0 || z + 1 == geometry_.size[kOuter];
  }
  double* of_chunk(int64_t image, int64_t column, int64_t z, int term) {
    const int64_t chunk =
        (image * chunks_ + column * chunks_per_column_ + z / planes_per_chunk_) * 2 + term;
    return statistics_.data() + chunk * kDiceCEStatistics * geometry_.channels;
  }
  // statistics: [2, kDiceCEStatistics, B, C].
  void add_up(double* statistics) const {
    const double* chunk_sums = statistics_.data();
    for (int64_t image = 0; image < geometry_.batch; ++image) {
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
        for (int term = 0; term < 2; ++term) {
          for (int statistic = 0; statistic < kDiceCEStatistics; ++statistic) {
            for (int64_t k = 0; k < geometry_.channels; ++k) {
              statistics[index_of_statistic(geometry_, term, statistic, image, k)] += *chunk_sums++;
            }
          }
        }
      }
    }
  }

 private:
  int64_t length() const {
    return 2 * kDiceCEStatistics * geometry_.channels;
  }

  const Geometry& geometry_;
  int64_t chunks_per_column_;
  int64_t planes_per_chunk_;
  int64_t chunks_;                  // per image
  std::vector<double> statistics_;  // [B, chunks, 2, kDiceCEStatistics, C]
};

template <class T>
class TileDiceCEForward {
  using Key = KeyOf<T>;
  using Real = Accumulator<T>;

 public:
  TileDiceCEForward(const DiceCEForwardCall& call, const Geometry& geometry, const Tile& tile)
      : call_(call),
        tile_(tile),
        reach_(geometry.reach(kOuter)),
        layout_(geometry, tile_),
        codes_(scratch_, call.target, geometry, tile_, layout_),
        wide_codes_(scratch_.array<MaskOf<Real>>(codes_.rows() * kRunPixels)),
        numbers_(scratch_.array<Real>(geometry.channels * kRunPixels)),
        winner_size_(bytes_of(call.winner_type)),
        winners_(scratch_.array<char>(layout_.interior_size() * winner_size_)),
        own_{call.gate, call.logits, sizeof(Key), call.winner_type, geometry.centre_tap()} {
    const int64_t classes = geometry.channels;
    for (int term = 0; term < 2; ++term) {
      if (term == 0 ? call.of_penalized : call.of_plain) {
        logits_[term] = scratch_.array<Key>(classes * layout_.interior_size());
        std::fill_n(logits_[term], classes * layout_.interior_size(), Key{0});
        accumulators_[term].emplace(scratch_, classes, call.gamma);
      }
    }
    if (call.of_penalized) {
      for (int64_t k = 0; k < classes; ++k) {
        planes_.push_back(
            choose_path<Key>(scratch_, call.type, call.winner_type, geometry, tile_, layout_));
        planes_.back()->start(logits_at(k, 0, 0, 0), call.logits.axis,
                              static_cast<uint8_t>(call.target.is_masks ? 0 : k));
      }
    }
  }

  Fault run(ChunkStatistics& statistics, int64_t column) {
    const bool step_by_step = !planes_.empty() && planes_.front()->prefetches_codes();
    for (int64_t z = tile_.span[kOuter].begin; z < tile_.span[kOuter].end; ++z) {
      codes_.read(step_by_step ? z + reach_ + 1 : call_.geometry.size[kOuter]);
      if (call_.of_penalized) {
        penalize_plane(z);
      }
      if (call_.of_plain) {
        copy_plane(z);
      }
      add_plane(z);
      for (int term = 0; term < 2; ++term) {
        if (accumulators_[term] && statistics.is_last_of_chunk(z)) {
          accumulators_[term]->finish_chunk(statistics.of_chunk(tile_.batch, column, z, term));
        }
      }
    }
    return codes_.fault();
  }

 private:
  const Key* logits_at(int64_t k, int64_t z, int64_t y, int64_t x) const {
    return reinterpret_cast<const Key*>(call_.logits.data) +
           call_.logits.offset(tile_.batch, k, z, y, x);
  }

  void penalize_plane(int64_t z) {
    const int64_t length = layout_.interior_columns.length();
    // Winners are written where they belong if they are whole blocks in one contiguous row.
    const bool in_place = layout_.interior_rows.length() == 1 &&
                          layout_.interior_size() == length && call_.winners.axis[kInner] == 1;
    for (size_t k = 0; k < planes_.size(); ++k) {
      Key* penalized = logits_[0] + k * layout_.interior_size();
      char* winners = in_place ? winners_at(k, z, layout_.interior_rows.begin) : winners_;
      planes_[k]->plane(z, codes_.of_class(k), {penalized, winners});
      if (call_.gate.exists) {
        keep_own_logits(own_, layout_, tile_.batch, static_cast<int64_t>(k), z, penalized, winners);
      }
      if (in_place) {
        continue;
      }
      for (int64_t y = layout_.interior_rows.begin; y < layout_.interior_rows.end; ++y) {
        const int64_t index = (y - layout_.interior_rows.begin) * layout_.pitch;
        spread_elements(winners_ + index * winner_size_, length, call_.winners.axis[kInner],
                        winner_size_, winners_at(k, z, y));
      }
    }
  }
  char* winners_at(size_t k, int64_t z, int64_t y) const {
    return call_.winners.data + winner_size_ * call_.winners.offset(tile_.batch,
                                                                    static_cast<int64_t>(k), z, y,
                                                                    layout_.interior_columns.begin);
  }
  void copy_plane(int64_t z) {
    for (int64_t k = 0; k < tile_.channels.length(); ++k) {
      for (int64_t y = layout_.interior_rows.begin; y < layout_.interior_rows.end; ++y) {
        const int64_t index = (y - layout_.interior_rows.begin) * layout_.pitch;
        gather_row(logits_at(k, z, y, layout_.interior_columns.begin), call_.logits.axis[kInner],
                   layout_.interior_columns.length(),
                   logits_[1] + k * layout_.interior_size() + index);
      }
    }
  }
  void add_plane(int64_t z) {
    const InteriorCodes codes = codes_.interior(z);
    const int64_t size = layout_.interior_size();
    for (int64_t begin = 0; begin < size; begin += kRunPixels) {
      const int64_t count = std::min(kRunPixels, size - begin);
      if (!call_.of_penalized) {
        fetch_rows_ahead(z, begin, count);
      }
      for (int64_t row = 0; row < codes_.rows(); ++row) {
        const uint8_t* narrow_codes = codes.codes + row * codes.per_class + begin;
        MaskOf<Real>* wide = wide_codes_ + row * kRunPixels;
        SCNP_VECTORIZE
        for (int64_t i = 0; i < count; ++i) {
          wide[i] = narrow_codes[i];
        }
      }
      const PixelCodes<Real> wide{wide_codes_, codes.per_class == 0 ? 0 : kRunPixels};
      for (int term = 0; term < 2; ++term) {
        if (accumulators_[term]) {
          accumulators_[term]->add(numbers(logits_[term] + begin, count), wide, count / kGroup,
                                   call_.softmax);
        }
      }
    }
    for (int64_t k = 0; k < tile_.channels.length(); ++k) {
      const uint8_t* row = codes.codes + k * codes.per_class;
      const int64_t foreground =
          count_codes(row, size, static_cast<uint8_t>(codes.per_class == 0 ? k : 0));
      if (k == 0 || codes.per_class != 0) {
        valid_pixels_ = size - count_codes(row, size, kInvalidPixel);
      }
      for (auto& accumulator : accumulators_) {
        if (accumulator) {
          accumulator->count(k, foreground, valid_pixels_);
        }
      }
    }
  }
  // Prefetches, while [count] pixels of plane z are worked on, their share of the next plane. With
  // a penalized term, its passes do.
  void fetch_rows_ahead(int64_t z, int64_t begin, int64_t count) const {
    const auto rows_before = [&](int64_t index) {
      return std::min((index + layout_.pitch - 1) / layout_.pitch, layout_.interior_rows.length());
    };
    for (int64_t row = rows_before(begin); row < rows_before(begin + count); ++row) {
      for (int64_t k = 0; k < tile_.channels.length(); ++k) {
        fetch_ahead(
            logits_at(k, z + 1, layout_.interior_rows.begin + row, layout_.interior_columns.begin),
            layout_.interior_columns.length(), call_.logits.axis[kInner]);
      }
    }
  }
  // Returns the numbers of bits, [count] of class k at bits + k * interior size.
  PixelLogits<Real> numbers(const Key* bits, int64_t count) {
    const int64_t size = layout_.interior_size();
    if constexpr (sizeof(Key) == sizeof(Real)) {
      return {reinterpret_cast<const Real*>(bits), size};
    }
    for (int64_t k = 0; k < tile_.channels.length(); ++k) {
      widen_row(call_.type, reinterpret_cast<const T*>(bits + k * size), 1, count,
                numbers_ + k * kRunPixels);
    }
    return {numbers_, kRunPixels};
  }

  static constexpr int64_t kRunPixels = DiceCEAccumulator<Real>::kRun * kGroup;

  const DiceCEForwardCall& call_;
  const Tile tile_;
  const int64_t reach_;  // of the windows, along the march
  Scratch scratch_;
  const PlaneLayout layout_;
  DiceCECodes codes_;
  MaskOf<Real>* wide_codes_;                                   // [C or 1, run]
  Real* numbers_;                                              // [C, run], for half types
  int64_t valid_pixels_ = 0;                                   // of the plane
  std::vector<std::unique_ptr<PenalizedPlanes<Key>>> planes_;  // [C]
  Key* logits_[2] = {nullptr, nullptr};  // [C, interior] of one plane: penalized, plain
  const int64_t winner_size_;            // in bytes
  char* winners_;                        // [interior], one class of one plane
  const OwnLogits own_;
  std::optional<DiceCEAccumulator<Real>> accumulators_[2];
};

template <class T>
Fault dice_ce_forward(const DiceCEForwardCall& call, const Workers& workers) {
  const Geometry geometry = geometry_of_loss(call);
  // Planes of up to four classes are as large as those of one, and those of many no smaller than an
  // eighth: with fewer tiles, less is computed twice at their edges, which costs more than the
  // second cache level saves.
  const int64_t together = std::min<int64_t>((geometry.channels + 3) / 4, 8);
  Tiling tiling(geometry, geometry.channels, together, workers.count);
  const int64_t planes_per_chunk = tiling.cut_between_chunks();
  ChunkStatistics statistics(geometry, tiling.columns(), planes_per_chunk);
  std::vector<Fault> faults(tiling.count());
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      const Tile tile = tiling.tile(number);
      faults[number] =
          TileDiceCEForward<T>(call, geometry, tile).run(statistics, tiling.column(tile));
    }
  });
  statistics.add_up(call.statistics);
  Fault first;
  for (const Fault& fault : faults) {
    first.merge(fault);
  }
  return first;
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
