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

namespace scnp::cpu::SCNP_CAPABILITY {

constexpr int kBackground = 0;
constexpr int kForeground = 1;
constexpr int kClasses = 2;

template <class Key, class Tap>
using BothClasses = std::array<Candidates<Key, Tap>, kClasses>;

// Storage for `rows` rows of `length` candidates of both classes.
template <class Key, class Tap>
class CandidateRows {
 public:
  CandidateRows(Scratch& scratch, int64_t rows, int64_t length)
      : rows_(rows),
        length_(length),
        keys_(scratch.array<Key>(kClasses * rows * length)),
        taps_(scratch.array<Tap>(kClasses * rows * length)) {
  }

  BothClasses<Key, Tap> row(int64_t index, int64_t column = 0) const {
    BothClasses<Key, Tap> both;
    for (int c = 0; c < kClasses; ++c) {
      const int64_t at = (c * rows_ + index) * length_ + column;
      both[c] = {keys_ + at, taps_ + at};
    }
    return both;
  }

 private:
  int64_t rows_;
  int64_t length_;
  Key* keys_;
  Tap* taps_;
};

// From the bits of one row of logits to its candidates: a key in the row of the pixel's own class,
// "no candidate" in the other's; an invalid pixel is nobody's candidate.
template <class Format, bool kUnitStride, class Key = typename Format::Bits>
void make_keys(const Key* logits, int64_t stride, const uint8_t* codes, uint8_t own_code, int64_t n,
               Key* background, Key* foreground) {
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    const Key key = background_key<Format>(logits[kUnitStride ? i : i * stride]);
    const Key own = static_cast<Key>(-static_cast<Key>(codes[i] == own_code));
    const Key invalid = static_cast<Key>(-static_cast<Key>(codes[i] == kInvalidPixel));
    background[i] = blend(key, kNoCandidate<Key>, static_cast<Key>(own | invalid));
    foreground[i] = blend(kNoCandidate<Key>, foreground_key(key), own);
  }
}

// The last pass over three sources of both classes, and of these the pixel's own: the bits of the
// winning logit, and the winner's tap.
template <class Source, class Key, class Tap, class Winner>
void first_best_of_own_class(const std::array<Source, 3>& background,
                             const std::array<Source, 3>& foreground, const uint8_t* codes,
                             uint8_t own_code, Tap centre_tap, int64_t n, Key* logits,
                             Winner* winners) {
  // Copies: a store to bytes may change anything that lies behind a reference.
  const auto [background_a, background_b, background_c] = background;
  const auto [foreground_a, foreground_b, foreground_c] = foreground;
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    Key best = background_a.key[i];
    Tap tap = background_a.tap(i);
    replace_if_better(background_b, i, best, tap);
    replace_if_better(background_c, i, best, tap);
    Key foreground_best = foreground_a.key[i];
    Tap foreground_tap = foreground_a.tap(i);
    replace_if_better(foreground_b, i, foreground_best, foreground_tap);
    replace_if_better(foreground_c, i, foreground_best, foreground_tap);
    // Masks as wide as the lanes, for the reason told at blend().
    const Key own = static_cast<Key>(-static_cast<Key>(codes[i] == own_code));
    const Tap own_tap = static_cast<Tap>(-static_cast<Tap>(codes[i] == own_code));
    const Tap invalid = static_cast<Tap>(-static_cast<Tap>(codes[i] == kInvalidPixel));
    best = blend(best, static_cast<Key>(~foreground_best), own);
    tap = blend(blend(tap, foreground_tap, own_tap), centre_tap, invalid);
    logits[i] = flip_negative(best);
    winners[i] = static_cast<Winner>(tap);
  }
}

template <class Format, class Tap, class Winner>
class TileForward {
  using Key = typename Format::Bits;
  using Both = BothClasses<Key, Tap>;
  using Source = CandidateSource<Key, Tap>;

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
        planes_(tile.span[kOuter].grown(reach(kOuter), geometry_.size[kOuter])),
        codes_(scratch_.array<uint8_t>(planes_.length() * rows_.length() * columns_.length())),
        input_(scratch_, 1, row_length_ + 2 * reach(kInner)),
        reduced_rows_(scratch_, rows_.length(), row_length_),
        ring_(scratch_, ring_depth_, plane_length_),
        best_(scratch_, 1, row_length_),
        output_(scratch_.array<Key>(row_length_)),
        output_winners_(scratch_.array<Winner>(row_length_)) {
  }

  Fault run() {
    read_codes();
    // Columns outside the image stay without a candidate for the whole march.
    for (const auto& candidates : input_.row(0)) {
      std::fill_n(candidates.key, row_length_ + 2 * reach(kInner), kNoCandidate<Key>);
    }
    for (channel_ = tile_.channels.begin; channel_ < tile_.channels.end; ++channel_) {
      march();
    }
    return fault_;
  }

 private:
  int64_t reach(int axis) const {
    return geometry_.reach(axis);
  }
  int64_t place_in_plane(int64_t y) const {
    return (y - tile_.span[kMiddle].begin) * row_length_;
  }
  Both ring_row(int64_t z, int64_t y) const {
    return ring_.row(z % ring_depth_, place_in_plane(y));
  }
  uint8_t* codes(int64_t z, int64_t y, int64_t x) const {
    return codes_ + ((z - planes_.begin) * rows_.length() + y - rows_.begin) * columns_.length() +
           x - columns_.begin;
  }
  uint8_t own_code() const {
    return static_cast<uint8_t>(channel_ - tile_.channels.begin);
  }

  // The target is read once, for all channels of the tile.
  void read_codes() {
    for (int64_t z = planes_.begin; z < planes_.end; ++z) {
      for (int64_t y = rows_.begin; y < rows_.end; ++y) {
        read_pixel_codes(call_.target, geometry_, tile_.channels,
                         {tile_.batch, z, y, columns_.begin, columns_.length()},
                         codes(z, y, columns_.begin), fault_);
      }
    }
  }

  void march() {
    int64_t next = planes_.begin;
    for (int64_t z = tile_.span[kOuter].begin; z < tile_.span[kOuter].end; ++z) {
      const Span needed = Span{z, z + 1}.grown(reach(kOuter), geometry_.size[kOuter]);
      for (; next < needed.end; ++next) {
        reduce_plane(next);
      }
      for (int64_t y = tile_.span[kMiddle].begin; y < tile_.span[kMiddle].end; ++y) {
        emit_row(z, y, needed);
      }
    }
  }

  void reduce_plane(int64_t z) {
    const Span own = tile_.span[kMiddle];
    // Without neighbours along the middle axis (1D, 2D), the row pass writes into the ring.
    const bool has_middle_pass = geometry_.window[kMiddle] > 1;
    for (int64_t y = rows_.begin; y < rows_.end; ++y) {
      read_row(z, y);
      row_pass(has_middle_pass ? reduced_rows_.row(y - rows_.begin) : ring_row(z, y));
    }
    if (has_middle_pass) {
      for (int64_t y = own.begin; y < own.end; ++y) {
        middle_pass(z, y);
      }
    }
  }

  void read_row(int64_t z, int64_t y) {
    const View<const char>& view = call_.logits;
    const Key* logits = reinterpret_cast<const Key*>(view.data) +
                        view.offset(tile_.batch, channel_, z, y, columns_.begin);
    const int64_t stride = view.axis[kInner];
    const uint8_t* row_codes = codes(z, y, columns_.begin);
    const Both keys = input_.row(0, columns_.begin - (tile_.span[kInner].begin - reach(kInner)));
    if (stride == 1) {
      make_keys<Format, true>(logits, stride, row_codes, own_code(), columns_.length(),
                              keys[kBackground].key, keys[kForeground].key);
    } else {
      make_keys<Format, false>(logits, stride, row_codes, own_code(), columns_.length(),
                               keys[kBackground].key, keys[kForeground].key);
    }
  }

  void row_pass(const Both& out) {
    const int64_t first_tap = geometry_.window[kInner] / 2 - reach(kInner);
    const Both input = input_.row(0);
    for (int c = 0; c < kClasses; ++c) {
      const auto source = [&](int64_t s) {
        return PixelSource<Key, Tap>{input[c].key + s, static_cast<Tap>(first_tap + s)};
      };
      first_best_of(2 * reach(kInner) + 1, source, row_length_, out[c]);
    }
  }

  void middle_pass(int64_t z, int64_t y) {
    const Span rows = Span{y, y + 1}.grown(reach(kMiddle), geometry_.size[kMiddle]);
    const int64_t first_tap = rows.begin - y + geometry_.window[kMiddle] / 2;
    const Both out = ring_row(z, y);
    for (int c = 0; c < kClasses; ++c) {
      const auto source = [&](int64_t s) {
        const Candidates<Key, Tap> from = reduced_rows_.row(rows.begin + s - rows_.begin)[c];
        return Source{from.key, from.tap,
                      static_cast<Tap>((first_tap + s) * geometry_.window[kInner])};
      };
      first_best_of(rows.length(), source, row_length_, out[c]);
    }
  }

  // The outer pass over the planes that the window of (z, y) needs, and the result.
  void emit_row(int64_t z, int64_t y, Span planes) {
    const int64_t first_tap = planes.begin - z + geometry_.window[kOuter] / 2;
    const int64_t step = geometry_.window[kMiddle] * geometry_.window[kInner];
    const int64_t count = planes.length();
    const Both best = best_.row(0);
    std::array<std::array<Source, 3>, kClasses> last_three;
    for (int c = 0; c < kClasses; ++c) {
      const auto source = [&](int64_t s) {
        const Candidates<Key, Tap> from = ring_row(planes.begin + s, y)[c];
        return Source{from.key, from.tap, static_cast<Tap>((first_tap + s) * step)};
      };
      if (count <= 3) {
        last_three[c] = {source(0), source(std::min<int64_t>(1, count - 1)), source(count - 1)};
      } else {
        first_best_of(count - 2, source, row_length_, best[c]);
        last_three[c] = {Source{best[c].key, best[c].tap, 0}, source(count - 2), source(count - 1)};
      }
    }
    write_row(z, y, last_three);
  }

  void write_row(int64_t z, int64_t y,
                 const std::array<std::array<Source, 3>, kClasses>& last_three) {
    const int64_t begin = tile_.span[kInner].begin;
    const auto at = [&](const auto& view) {
      return view.offset(tile_.batch, channel_, z, y, begin);
    };
    Key* penalized = reinterpret_cast<Key*>(call_.penalized.data) + at(call_.penalized);
    Winner* winners = reinterpret_cast<Winner*>(call_.winners.data) + at(call_.winners);
    const int64_t stride = call_.penalized.axis[kInner];
    const int64_t winner_stride = call_.winners.axis[kInner];
    const bool in_place = stride == 1 && winner_stride == 1;
    const uint8_t* row_codes = codes(z, y, begin);
    first_best_of_own_class(last_three[kBackground], last_three[kForeground], row_codes, own_code(),
                            static_cast<Tap>(geometry_.centre_tap()), row_length_,
                            in_place ? penalized : output_, in_place ? winners : output_winners_);
    if (!in_place) {
      for (int64_t i = 0; i < row_length_; ++i) {
        penalized[i * stride] = output_[i];
        winners[i * winner_stride] = output_winners_[i];
      }
    }
    if (call_.target.has_ignore_index || call_.target.has_mask) {
      const Key* logits = reinterpret_cast<const Key*>(call_.logits.data) + at(call_.logits);
      for (int64_t i = 0; i < row_length_; ++i) {
        if (row_codes[i] == kInvalidPixel) {
          penalized[i * stride] = logits[i * call_.logits.axis[kInner]];
        }
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
  const Span planes_;  // what the windows reach along the outer axis, inside the image
  Scratch scratch_;
  uint8_t* codes_;                        // [planes, rows, columns], of the tile's channels
  CandidateRows<Key, Tap> input_;         // 1 row of keys, with margins; taps unused
  CandidateRows<Key, Tap> reduced_rows_;  // [rows, row_length], after the row pass (3D)
  CandidateRows<Key, Tap> ring_;          // [ring_depth, plane_length], after the middle pass
  CandidateRows<Key, Tap> best_;          // 1 row, of all but the last planes of a large window
  Key* output_;                           // [row_length], where results are not contiguous
  Winner* output_winners_;                // [row_length], likewise
  int64_t channel_ = 0;
  Fault fault_;
};

template <class Format, class Tap, class Winner>
Fault forward_typed(const ForwardCall& call, const Workers& workers) {
  const Tiling tiling(call.geometry, channels_per_group(call.target), workers.count);
  std::vector<Fault> faults(tiling.count());
  workers.run(tiling.count(), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; ++number) {
      faults[number] = TileForward<Format, Tap, Winner>(call, tiling.tile(number)).run();
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
Fault forward_of_format(const ForwardCall& call, const Workers& workers) {
  using Tap = typename Format::Bits;
  using WideTap = std::conditional_t<sizeof(Tap) == 2, int32_t, Tap>;
  switch (call.winner_type) {
    case WinnerType::kUInt8:
      return forward_typed<Format, Tap, uint8_t>(call, workers);
    case WinnerType::kInt16:
      return forward_typed<Format, Tap, int16_t>(call, workers);
    case WinnerType::kInt32:
      return forward_typed<Format, WideTap, int32_t>(call, workers);
  }
  return {};
}

inline Fault forward(const ForwardCall& call, const Workers& workers) {
  switch (call.type) {
    case FloatType::kFloat16:
      return forward_of_format<Float16Format>(call, workers);
    case FloatType::kBFloat16:
      return forward_of_format<BFloat16Format>(call, workers);
    case FloatType::kFloat32:
      return forward_of_format<Float32Format>(call, workers);
    case FloatType::kFloat64:
      return forward_of_format<Float64Format>(call, workers);
  }
  return {};
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
