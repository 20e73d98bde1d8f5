// The transpose of scatter, for the derivative of the gradient: every pixel takes the value at its
// winner.
//
//     values    a b c        winners (1D, window 3)   2 2 0        result   b c b
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "winners.h"

namespace scnp::cpu {
namespace {

// Where every tap lies: a table, unless it would be larger than most images.
class Displacements {
 public:
  explicit Displacements(const Geometry& geometry) : geometry_(geometry) {
    constexpr int64_t most_in_table = 32767;
    const int64_t length = geometry.taps() <= most_in_table ? geometry.taps() : 0;
    for (int64_t tap = 0; tap < length; ++tap) {
      table_.push_back(displacement_of_tap(geometry, tap));
    }
  }
  Displacement operator[](int64_t tap) const {
    return table_.empty() ? displacement_of_tap(geometry_, tap) : table_[tap];
  }

 private:
  const Geometry& geometry_;
  std::vector<Displacement> table_;  // [taps]
};

// Bits: an integer of the values' width, since values are moved and never computed with.
template <class Bits, class Winner>
void gather_row(const GatherCall& call, const Displacements& displacements, int64_t b, int64_t c,
                int64_t z, int64_t y) {
  const Geometry& geometry = call.geometry;
  const auto* values = reinterpret_cast<const Bits*>(call.values.data);
  const auto* winners = reinterpret_cast<const Winner*>(call.winners.data);
  auto* result = reinterpret_cast<Bits*>(call.result.data);
  const auto last_tap = static_cast<uint64_t>(geometry.taps() - 1);
  for (int64_t x = 0; x < geometry.size[kInner]; ++x) {
    const auto tap = static_cast<uint64_t>(winners[call.winners.offset(b, c, z, y, x)]);
    const Displacement by = displacements[static_cast<int64_t>(std::min(tap, last_tap))];
    // Winners of a forward pass never leave the image; other numbers must not leave memory.
    const auto inside = [&](int axis, int64_t at) {
      return std::clamp<int64_t>(at + by.axis[axis], 0, geometry.size[axis] - 1);
    };
    result[call.result.offset(b, c, z, y, x)] =
        values[call.values.offset(b, c, inside(kOuter, z), inside(kMiddle, y), inside(kInner, x))];
  }
}

template <class Bits>
void gather_typed(const GatherCall& call, const Workers& workers) {
  const Geometry& geometry = call.geometry;
  const Displacements displacements(geometry);
  const int64_t rows = geometry.size[kMiddle];
  const int64_t planes = geometry.size[kOuter];
  with_winner_type(call.winner_type, [&]<class Winner>(Winner /*type*/) {
    workers.run(geometry.batch * geometry.channels * planes, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        const int64_t image = plane / planes;
        for (int64_t row = 0; row < rows; ++row) {
          gather_row<Bits, Winner>(call, displacements, image / geometry.channels,
                                   image % geometry.channels, plane % planes, row);
        }
      }
    });
  });
}

}  // namespace

void gather(const GatherCall& call, const Workers& workers) {
  switch (call.type) {
    case FloatType::kFloat16:
    case FloatType::kBFloat16:
      return gather_typed<uint16_t>(call, workers);
    case FloatType::kFloat32:
      return gather_typed<uint32_t>(call, workers);
    case FloatType::kFloat64:
      return gather_typed<uint64_t>(call, workers);
  }
}

}  // namespace scnp::cpu
