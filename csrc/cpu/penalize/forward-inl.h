// The forward pass of one tile: reads its target's codes once, then computes the penalized planes
// of a few channels side by side, and copies them to where the results lie. Planes of one row are
// computed where they lie, if that is contiguous.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "../../contract/calls.h"
#include "../../contract/geometry.h"
#include "../gate/own_logits-inl.h"
#include "../kernels.h"
#include "../memory/scratch.h"
#include "../memory/strided-inl.h"
#include "../tiling/tiles.h"
#include "penalized_planes-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

template <class Key>
class TileForward {
 public:
  TileForward(const ForwardCall& call, const Tile& tile)
      : call_(call),
        tile_(tile),
        streamed_(is_streamed(call.geometry.logits() * static_cast<int64_t>(sizeof(Key)))),
        layout_(call.geometry, tile_),
        codes_(scratch_, call.target, call.geometry, tile_, layout_),
        together_(std::min(channels_together(call.geometry, call.logits), tile.channels.length())),
        penalized_(scratch_.array<Key>(together_ * layout_.interior_size())),
        winner_size_(bytes_of(call.winner_type)),
        winners_(scratch_.array<char>(together_ * layout_.interior_size() * winner_size_)),
        own_{call.gate, call.logits, sizeof(Key), call.winner_type, call.geometry.centre_tap()} {
    planes_.reserve(together_);
    for (int64_t i = 0; i < together_; ++i) {
      planes_.push_back(
          choose_path<Key>(scratch_, call.type, call.winner_type, call.geometry, tile_, layout_));
    }
  }

  Fault run() {
    for (int64_t first = tile_.channels.begin; first < tile_.channels.end; first += together_) {
      march({first, std::min(first + together_, tile_.channels.end)});
    }
    finish_streaming();
    return codes_.fault();
  }

 private:
  void march(Span channels) {
    for (int64_t channel = channels.begin; channel < channels.end; ++channel) {
      const auto* logits = reinterpret_cast<const Key*>(call_.logits.data) +
                           call_.logits.offset(tile_.batch, channel, 0, 0, 0);
      planes_[channel - channels.begin]->start(
          logits, call_.logits.axis, static_cast<uint8_t>(channel - tile_.channels.begin));
    }
    const int64_t length = layout_.interior_columns.length();
    Scratch scratch;
    RowsOfChannels penalized(scratch, channels.length(), length, strides_of(call_.penalized),
                             sizeof(Key), streamed_);
    RowsOfChannels winners(scratch, channels.length(), length, strides_of(call_.winners),
                           winner_size_);
    const bool step_by_step = planes_.front()->prefetches_codes();
    for (int64_t z = tile_.span[kOuter].begin; z < tile_.span[kOuter].end; ++z) {
      codes_.read(step_by_step ? z + call_.geometry.reach(kOuter) + 1 : codes_.planes().end);
      if (may_compute_in_place(channels, z)) {
        compute_in_place(channels.begin, z);
      } else {
        compute_planes(channels, z);
        for (int64_t y = layout_.interior_rows.begin; y < layout_.interior_rows.end; ++y) {
          const int64_t index = (y - layout_.interior_rows.begin) * layout_.pitch;
          for (int64_t c = 0; c < channels.length(); ++c) {
            penalized.set(c, penalized_ + c * layout_.interior_size() + index);
            winners.set(c, winners_of(c) + index * winner_size_);
          }
          penalized.write(length, penalized_at(channels.begin, z, y));
          winners.write(length, winners_at(channels.begin, z, y));
        }
      }
      if (call_.target.has_ignore_index || call_.target.has_mask) {
        keep_invalid_pixels(channels, z);
      }
    }
  }

  // Whether results can be written where they belong: whole blocks in one contiguous row.
  bool may_compute_in_place(Span channels, int64_t z) const {
    const Key* row = penalized_at(channels.begin, z, layout_.interior_rows.begin);
    return channels.length() == 1 && layout_.interior_rows.length() == 1 &&
           layout_.interior_size() == layout_.interior_columns.length() &&
           call_.penalized.axis[kInner] == 1 && call_.winners.axis[kInner] == 1 &&
           (!streamed_ || (planes_.front()->may_stream(row) && may_gate_in_place()));
  }
  // Streamed results cannot be changed afterwards: the gate is looked at before.
  bool may_gate_in_place() const {
    return !call_.gate.exists ||
           (call_.gate.view.axis[kInner] == 1 && call_.logits.axis[kInner] == 1);
  }
  void compute_in_place(int64_t channel, int64_t z) {
    const int64_t y = layout_.interior_rows.begin;
    PlaneResults<Key> results{penalized_at(channel, z, y), winners_at(channel, z, y)};
    results.streamed = streamed_;
    if (streamed_ && call_.gate.exists) {
      const int64_t x = layout_.interior_columns.begin;
      results.gate = call_.gate.view.at(tile_.batch, 0, z, y, x);
      results.own = logits_at(channel, z, y);
      fetch_ahead(results.gate + call_.gate.view.axis[kOuter], layout_.interior_columns.length());
    }
    compute_plane(0, channel, z, results);
  }
  void compute_planes(Span channels, int64_t z) {
    for (int64_t c = 0; c < channels.length(); ++c) {
      compute_plane(c, channels.begin + c, z,
                    {penalized_ + c * layout_.interior_size(), winners_of(c)});
    }
  }
  void compute_plane(int64_t c, int64_t channel, int64_t z, const PlaneResults<Key>& results) {
    planes_[c]->plane(z, codes_, results);
    if (call_.gate.exists && results.gate == nullptr) {
      keep_own_logits(own_, layout_, tile_.batch, channel, z, results.penalized, results.winners);
    }
  }

  void keep_invalid_pixels(Span channels, int64_t z) {
    for (int64_t channel = channels.begin; channel < channels.end; ++channel) {
      for (int64_t y = layout_.interior_rows.begin; y < layout_.interior_rows.end; ++y) {
        keep_invalid_pixels(channel, z, y);
      }
    }
  }
  void keep_invalid_pixels(int64_t channel, int64_t z, int64_t y) {
    const Key* logits = logits_at(channel, z, y);
    const uint8_t* codes = codes_(z) + layout_.index(y, layout_.interior_columns.begin);
    Key* penalized = penalized_at(channel, z, y);
    for (int64_t i = 0; i < layout_.interior_columns.length(); ++i) {
      if (codes[i] == kInvalidPixel) {
        penalized[i * call_.penalized.axis[kInner]] = logits[i * call_.logits.axis[kInner]];
      }
    }
  }

  const Key* logits_at(int64_t channel, int64_t z, int64_t y) const {
    return reinterpret_cast<const Key*>(call_.logits.data) +
           call_.logits.offset(tile_.batch, channel, z, y, layout_.interior_columns.begin);
  }
  Key* penalized_at(int64_t channel, int64_t z, int64_t y) const {
    return reinterpret_cast<Key*>(call_.penalized.data) +
           call_.penalized.offset(tile_.batch, channel, z, y, layout_.interior_columns.begin);
  }
  char* winners_at(int64_t channel, int64_t z, int64_t y) const {
    return call_.winners.data + winner_size_ * call_.winners.offset(tile_.batch, channel, z, y,
                                                                    layout_.interior_columns.begin);
  }
  // The winners of the c-th channel of those that are computed side by side.
  char* winners_of(int64_t c) const {
    return winners_ + c * layout_.interior_size() * winner_size_;
  }

  const ForwardCall& call_;
  const Tile tile_;
  const bool streamed_;
  Scratch scratch_;
  const PlaneLayout layout_;
  TileCodes codes_;
  const int64_t together_;  // channels that are computed side by side
  std::vector<std::unique_ptr<PenalizedPlanes<Key>>> planes_;  // [together]
  Key* penalized_;                                             // [together, interior], one plane
  const int64_t winner_size_;                                  // in bytes
  char* winners_;                                              // likewise
  const OwnLogits own_;
};

template <class Key>
Fault forward(const ForwardCall& call, const Workers& workers) {
  const Tiling tiling(call.geometry, most_channels_of_tile(call.target),
                      channels_together(call.geometry, call.logits), workers.count);
  std::vector<Fault> faults(tiling.count());
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      faults[number] = TileForward<Key>(call, tiling.tile(number)).run();
    }
  });
  Fault first;
  for (const Fault& fault : faults) {
    first.merge(fault);
  }
  return first;
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
