// The CPU kernels against loops in raster order, on whatever machine this is compiled for.
//
// It needs neither Python nor torch, so that a machine that is only emulated can run it. The loops
// share nothing with the kernels but what these are called with (csrc/contract). It prints a line
// per operation and returns 1 after the first difference.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../../../csrc/contract/calls.h"
#include "../../../csrc/cpu/dispatch.h"
#include "../../../csrc/cpu/kernels.h"

namespace {

using namespace scnp;

[[noreturn]] void fail(const std::string& what) {
  std::printf("DIFFERENT: %s\n", what.c_str());
  std::exit(1);
}

cpu::Workers one_worker() {
  return {1, [](int64_t items, const std::function<void(int64_t, int64_t)>& body) {
            if (items > 0) {
              body(0, items);
            }
          }};
}

// Floats as they lie in memory, by their definition.
double value_of(FloatType type, const char* at) {
  if (type == FloatType::kFloat64) {
    double value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  if (type == FloatType::kFloat32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  const int mantissa_bits = type == FloatType::kFloat16 ? 10 : 7;
  const int bias = type == FloatType::kFloat16 ? 15 : 127;
  const int exponent_bits = 15 - mantissa_bits;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits >> 15) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) {
    return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  }
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

int64_t bytes_of(FloatType type) {
  return type == FloatType::kFloat64 ? 8 : type == FloatType::kFloat32 ? 4 : 2;
}

const char* name_of(FloatType type) {
  constexpr const char* names[] = {"float16", "bfloat16", "float32", "float64"};
  return names[static_cast<int>(type)];
}

// A value that every type holds exactly: few of them, so that many are equal.
void write_value(FloatType type, double value, char* at) {
  const auto single = static_cast<float>(value);
  const auto bits = std::bit_cast<uint32_t>(single);
  if (type == FloatType::kFloat64) {
    std::memcpy(at, &value, 8);
  } else if (type == FloatType::kFloat32) {
    std::memcpy(at, &single, 4);
  } else if (type == FloatType::kBFloat16) {
    const auto half = static_cast<uint16_t>(bits >> 16);
    std::memcpy(at, &half, 2);
  } else {
    uint32_t half = bits >> 16 & 0x8000;
    if (std::isnan(value)) {
      half |= 0x7e00;
    } else if (std::isinf(value)) {
      half |= 0x7c00;
    } else if (value != 0) {
      half |= ((bits >> 23 & 0xff) - 127 + 15) << 10 | (bits >> 13 & 0x3ff);
    }
    const auto narrow = static_cast<uint16_t>(half);
    std::memcpy(at, &narrow, 2);
  }
}

// A tensor [B, C, *spatial]: contiguous, with channels last, or every second element of a row.
enum class Layout { kContiguous, kChannelsLast, kStrided };

struct Tensor {
  std::vector<char> bytes;
  int64_t element = 0;
  View<char> view;

  Tensor(const Geometry& geometry, int64_t element, Layout layout) : element(element) {
    const int64_t step = layout == Layout::kStrided ? 2 : 1;
    bytes.resize(static_cast<size_t>(geometry.logits() * step * element));
    view.data = bytes.data();
    int64_t stride = layout == Layout::kChannelsLast ? geometry.channels : step;
    for (int axis = kInner; axis >= kOuter; --axis) {
      view.axis[axis] = stride;
      stride *= geometry.size[axis];
    }
    view.channel = layout == Layout::kChannelsLast ? 1 : stride;
    view.batch = layout == Layout::kChannelsLast ? stride : stride * geometry.channels;
  }
  char* at(int64_t b, int64_t c, int64_t z, int64_t y, int64_t x) {
    return bytes.data() + view.offset(b, c, z, y, x) * element;
  }
  View<const char> read() const {
    return {view.data, view.batch, view.channel, {view.axis[0], view.axis[1], view.axis[2]}};
  }
};

struct Case {
  Geometry geometry;
  FloatType type;
  Layout layout;
  bool masks;     // a mask per class, else a label map
  bool ignores;   // an ignore_index (label maps)
  bool has_mask;  // pixels that are not valid
  bool has_gate;
  bool special;  // NaN and infinities among the logits

  std::string name() const {
    const auto& g = geometry;
    return std::string(name_of(type)) + " [" + std::to_string(g.batch) + ", " +
           std::to_string(g.channels) + ", " + std::to_string(g.size[0]) + ", " +
           std::to_string(g.size[1]) + ", " + std::to_string(g.size[2]) + "] window " +
           std::to_string(g.window[0]) + "x" + std::to_string(g.window[1]) + "x" +
           std::to_string(g.window[2]);
  }
};

template <class Body>
void each_pixel(const Geometry& geometry, const Body& body) {
  for (int64_t b = 0; b < geometry.batch; ++b) {
    for (int64_t z = 0; z < geometry.size[kOuter]; ++z) {
      for (int64_t y = 0; y < geometry.size[kMiddle]; ++y) {
        for (int64_t x = 0; x < geometry.size[kInner]; ++x) {
          body(b, z, y, x);
        }
      }
    }
  }
}

// A pixel's neighbours inside the image, in raster order.
template <class Body>
void each_neighbour(const Geometry& g, int64_t z, int64_t y, int64_t x, const Body& body) {
  int64_t tap = 0;
  for (int64_t dz = -(g.window[0] / 2); dz <= g.window[0] / 2; ++dz) {
    for (int64_t dy = -(g.window[1] / 2); dy <= g.window[1] / 2; ++dy) {
      for (int64_t dx = -(g.window[2] / 2); dx <= g.window[2] / 2; ++dx, ++tap) {
        if (z + dz >= 0 && z + dz < g.size[0] && y + dy >= 0 && y + dy < g.size[1] && x + dx >= 0 &&
            x + dx < g.size[2]) {
          body(tap, z + dz, y + dy, x + dx);
        }
      }
    }
  }
}

int64_t winner_at(WinnerType type, const char* at) {
  if (type == WinnerType::kUInt8) {
    return static_cast<uint8_t>(*at);
  }
  if (type == WinnerType::kInt16) {
    int16_t value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  int32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// One case, with its inputs; and what has to come out of it.
class Check {
 public:
  Check(const Case& c, uint64_t seed)
      : c_(c),
        g_(c.geometry),
        random_(seed),
        winner_type_(winner_type_for(g_.taps())),
        logits_(g_, bytes_of(c.type), c.layout),
        labels_(static_cast<size_t>(g_.batch * g_.pixels() * (c.masks ? g_.channels : 1))),
        mask_(static_cast<size_t>(g_.batch * g_.pixels()), 1),
        gate_(mask_.size(), 1),
        winners_(g_, scnp::bytes_of(winner_type_), c.layout),
        wanted_winners_(static_cast<size_t>(g_.logits())) {
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      double value = static_cast<double>(pick(33)) / 8 - 2;
      if (c.special && pick(12) == 0) {
        const double rare[] = {std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN(), -0.0};
        value = rare[pick(4)];
      }
      write_value(c.type, value, logits_.at(b, k, z, y, x));
    });
    for (auto& label : labels_) {
      label = c.masks ? pick(2) : pick(g_.channels == 1 ? 2 : g_.channels);
      if (c.ignores && pick(6) == 0) {
        label = kIgnored;
      }
    }
    for (size_t i = 0; i < mask_.size(); ++i) {
      mask_[i] = !c.has_mask || pick(5) != 0;
      gate_[i] = !c.has_gate || pick(3) != 0;
    }
  }

  void forward() {
    ForwardCall call;
    call.geometry = g_;
    call.type = c_.type;
    call.winner_type = winner_type_;
    call.logits = logits_.read();
    call.target = target();
    call.gate = gate();
    Tensor penalized(g_, bytes_of(c_.type), c_.layout);
    call.penalized = penalized.view;
    call.winners = winners_.view;
    if (cpu::forward(call, one_worker()).found) {
      fail("forward: a fault where there is none, " + c_.name());
    }
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      const auto [tap, wz, wy, wx] = winner(b, k, z, y, x);
      wanted_winners_[index(b, k, z, y, x)] = tap;
      const char* want = logits_.at(b, k, wz, wy, wx);
      const double value = value_of(c_.type, want);
      const double got = value_of(c_.type, penalized.at(b, k, z, y, x));
      // The contract does not promise the sign of a zero.
      if (!(got == value || (std::isnan(got) && std::isnan(value)))) {
        fail("forward: a penalized logit, " + c_.name());
      }
      if (winner_at(winner_type_, winners_.at(b, k, z, y, x)) != tap) {
        fail("forward: a winner, " + c_.name());
      }
    });
  }

  // After forward().
  void scatter_and_gather() {
    Tensor gradient(g_, bytes_of(c_.type), c_.layout);
    Tensor result(g_, bytes_of(c_.type), c_.layout);
    std::vector<double> wanted(static_cast<size_t>(g_.logits()), 0.0);
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      // Sums of these are exact in every type.
      const double value = static_cast<double>(pick(9)) - 4;
      write_value(c_.type, value, gradient.at(b, k, z, y, x));
    });
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      wanted[index_of_winner(b, k, z, y, x)] += value_of(c_.type, gradient.at(b, k, z, y, x));
    });
    ScatterCall call;
    call.geometry = g_;
    call.type = c_.type;
    call.winner_type = winner_type_;
    call.gradient = gradient.read();
    call.winners = winners_.read();
    call.logits_gradient = result.view;
    cpu::scatter(call, one_worker());
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      if (value_of(c_.type, result.at(b, k, z, y, x)) != wanted[index(b, k, z, y, x)]) {
        fail("scatter, " + c_.name());
      }
    });
    GatherCall back;
    back.geometry = g_;
    back.type = c_.type;
    back.winner_type = winner_type_;
    back.values = gradient.read();
    back.winners = winners_.read();
    back.result = result.view;
    cpu::gather(back, one_worker());
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      const auto [wz, wy, wx] = place_of_winner(b, k, z, y, x);
      if (value_of(c_.type, result.at(b, k, z, y, x)) !=
          value_of(c_.type, gradient.at(b, k, wz, wy, wx))) {
        fail("gather, " + c_.name());
      }
    });
  }

  // Statistics of the fused loss and their gradient, in double precision by their definitions.
  void dice_ce(bool softmax, bool of_penalized, bool of_plain, double gamma) {
    const auto length = static_cast<size_t>(2 * kDiceCEStatistics * g_.batch * g_.channels);
    std::vector<double> got(length, 0.0);
    std::vector<double> wanted(length, 0.0);
    std::vector<double> weights(length);
    for (auto& weight : weights) {
      weight = static_cast<double>(pick(17)) / 8 - 1;
    }
    DiceCEForwardCall call;
    describe(call, softmax, of_penalized, of_plain, gamma);
    call.gate = gate();
    call.winners = winners_.view;
    call.statistics = got.data();
    if (cpu::dice_ce_forward(call, one_worker()).found) {
      fail("fused loss: a fault where there is none, " + c_.name());
    }
    std::vector<double> gradient(static_cast<size_t>(g_.logits()), 0.0);
    for (int term = 0; term < 2; ++term) {
      if (term == 0 ? of_penalized : of_plain) {
        each_pixel(g_, [&](int64_t b, int64_t z, int64_t y, int64_t x) {
          add_pixel(term, softmax, gamma, b, z, y, x, wanted, weights, gradient);
        });
      }
    }
    const double tolerance = c_.type == FloatType::kFloat64 ? 1e-11 : 3e-5;
    const double pixels = static_cast<double>(g_.pixels());
    for (size_t i = 0; i < length; ++i) {
      if (!(std::abs(got[i] - wanted[i]) <= tolerance * pixels)) {
        fail("statistics of the fused loss, " + c_.name());
      }
    }
    Tensor result(g_, bytes_of(c_.type), c_.layout);
    DiceCEBackwardCall back;
    describe(back, softmax, of_penalized, of_plain, gamma);
    back.statistics_gradient = weights.data();
    back.winners = winners_.read();
    back.logits_gradient = result.view;
    cpu::dice_ce_backward(back, one_worker());
    const double rounding = c_.type == FloatType::kFloat64    ? 1e-11
                            : c_.type == FloatType::kFloat32  ? 1e-4
                            : c_.type == FloatType::kBFloat16 ? 1e-2
                                                              : 2e-3;
    each_logit([&](int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
      const double want = gradient[index(b, k, z, y, x)];
      const double have = value_of(c_.type, result.at(b, k, z, y, x));
      if (!(std::abs(have - want) <= rounding * (1 + std::abs(want)))) {
        fail("gradient of the fused loss, " + c_.name());
      }
    });
  }

 private:
  static constexpr int64_t kIgnored = 200;

  struct Winner {
    int64_t tap, z, y, x;
  };

  int64_t pick(int64_t below) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(below));
  }
  size_t index(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) const {
    return static_cast<size_t>(
        (((b * g_.channels + k) * g_.size[0] + z) * g_.size[1] + y) * g_.size[2] + x);
  }
  size_t pixel(int64_t b, int64_t z, int64_t y, int64_t x) const {
    return static_cast<size_t>(((b * g_.size[0] + z) * g_.size[1] + y) * g_.size[2] + x);
  }
  template <class Body>
  void each_logit(const Body& body) {
    for (int64_t k = 0; k < g_.channels; ++k) {
      each_pixel(g_, [&](int64_t b, int64_t z, int64_t y, int64_t x) { body(b, k, z, y, x); });
    }
  }

  Target target() const {
    Target target;
    target.data = labels_.data();
    target.type = TargetType::kInt64;
    int64_t stride = 1;
    for (int axis = kInner; axis >= kOuter; --axis) {
      target.strides.axis[axis] = stride;
      stride *= g_.size[axis];
    }
    target.strides.channel = c_.masks ? stride : 0;
    target.strides.batch = c_.masks ? stride * g_.channels : stride;
    target.is_masks = c_.masks;
    target.first_class = g_.channels == 1 ? 1 : 0;
    target.label_count = g_.channels == 1 ? 2 : g_.channels;
    target.has_ignore_index = c_.ignores;
    target.ignore_index = kIgnored;
    target.has_mask = c_.has_mask;
    target.mask = pixels_view(mask_);
    target.validate = true;
    return target;
  }
  Gate gate() const {
    return {c_.has_gate, pixels_view(gate_)};
  }
  View<const uint8_t> pixels_view(const std::vector<uint8_t>& pixels) const {
    return {pixels.data(), g_.pixels(), 0, {g_.size[1] * g_.size[2], g_.size[2], 1}};
  }
  void describe(DiceCECall& call, bool softmax, bool of_penalized, bool of_plain, double gamma) {
    call.geometry = g_;
    call.type = c_.type;
    call.winner_type = winner_type_;
    call.logits = logits_.read();
    call.target = target();
    call.softmax = softmax;
    call.of_penalized = of_penalized;
    call.of_plain = of_plain;
    call.gamma = gamma;
  }

  int64_t label(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) const {
    return labels_[c_.masks ? index(b, k, z, y, x) : pixel(b, z, y, x)];
  }
  bool foreground(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) const {
    return label(b, k, z, y, x) == (c_.masks || g_.channels == 1 ? 1 : k);
  }
  bool valid(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) const {
    return mask_[pixel(b, z, y, x)] != 0 && !(c_.ignores && label(b, k, z, y, x) == kIgnored);
  }

  // Eq. 1: the first of the worst same-class neighbours.
  Winner winner(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
    Winner best{g_.taps() / 2, z, y, x};
    if (!valid(b, k, z, y, x) || gate_[pixel(b, z, y, x)] == 0) {
      return best;
    }
    const bool is_foreground = foreground(b, k, z, y, x);
    bool none = true;
    double worst = 0;
    each_neighbour(g_, z, y, x, [&](int64_t tap, int64_t nz, int64_t ny, int64_t nx) {
      if (!valid(b, k, nz, ny, nx) || foreground(b, k, nz, ny, nx) != is_foreground) {
        return;
      }
      const double value = value_of(c_.type, logits_.at(b, k, nz, ny, nx));
      const bool worse = std::isnan(value) ? !std::isnan(worst)
                         : is_foreground   ? value < worst
                                           : value > worst;
      if (none || worse) {
        none = false;
        worst = value;
        best = {tap, nz, ny, nx};
      }
    });
    return best;
  }
  std::array<int64_t, 3> place_of_winner(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
    std::array<int64_t, 3> place{};
    each_neighbour(g_, z, y, x, [&](int64_t tap, int64_t nz, int64_t ny, int64_t nx) {
      if (tap == wanted_winners_[index(b, k, z, y, x)]) {
        place = {nz, ny, nx};
      }
    });
    return place;
  }
  size_t index_of_winner(int64_t b, int64_t k, int64_t z, int64_t y, int64_t x) {
    const auto [wz, wy, wx] = place_of_winner(b, k, z, y, x);
    return index(b, k, wz, wy, wx);
  }

  // One pixel's share of the statistics, and of what `weights` of them send back.
  void add_pixel(int term, bool softmax, double gamma, int64_t b, int64_t z, int64_t y, int64_t x,
                 std::vector<double>& statistics, const std::vector<double>& weights,
                 std::vector<double>& gradient) {
    const auto classes = static_cast<size_t>(g_.channels);
    std::vector<double> logit(classes);
    std::vector<size_t> from(classes);
    double largest = -std::numeric_limits<double>::infinity();
    for (size_t k = 0; k < classes; ++k) {
      const auto channel = static_cast<int64_t>(k);
      std::array<int64_t, 3> at = {z, y, x};
      if (term == 0) {
        at = place_of_winner(b, channel, z, y, x);
      }
      from[k] = index(b, channel, at[0], at[1], at[2]);
      logit[k] = value_of(c_.type, logits_.at(b, channel, at[0], at[1], at[2]));
      largest = std::max(largest, logit[k]);
    }
    double total = 0;
    for (double z_k : logit) {
      total += std::exp(z_k - largest);
    }
    const auto at = [&](int statistic, size_t k) {
      return static_cast<size_t>(
          index_of_statistic(g_, term, statistic, b, static_cast<int64_t>(k)));
    };
    // The gradient of softmax needs the sum over classes of p * dp, and of what entropy sends.
    std::vector<double> probability(classes);
    std::vector<double> of_probability(classes, 0.0);
    std::vector<double> direct(classes, 0.0);
    for (size_t k = 0; k < classes; ++k) {
      const auto channel = static_cast<int64_t>(k);
      if (!valid(b, channel, z, y, x)) {
        continue;
      }
      const bool positive = foreground(b, channel, z, y, x);
      const double p =
          softmax ? std::exp(logit[k] - largest) / total : 1 / (1 + std::exp(-logit[k]));
      const double log_p = softmax ? logit[k] - largest - std::log(total) : -softplus(-logit[k]);
      probability[k] = p;
      statistics[at(kValidPixels, k)] += 1;
      statistics[at(kForegroundPixels, k)] += positive ? 1 : 0;
      statistics[at(kProbability, k)] += p;
      statistics[at(kIntersection, k)] += positive ? p : 0;
      of_probability[k] =
          weights[at(kProbability, k)] + (positive ? weights[at(kIntersection, k)] : 0);
      if (positive) {
        statistics[at(kForegroundEntropy, k)] += std::pow(1 - p, gamma) * -log_p;
        // d/dp of -(1 - p)^gamma * log p
        const double slope =
            gamma == 0 ? -1 / p
                       : gamma * std::pow(1 - p, gamma - 1) * log_p - std::pow(1 - p, gamma) / p;
        of_probability[k] += weights[at(kForegroundEntropy, k)] * slope;
      } else if (!softmax) {
        const double log_q = -softplus(logit[k]);
        statistics[at(kBackgroundEntropy, k)] += std::pow(p, gamma) * -log_q;
        const double slope =
            gamma == 0 ? 1 / (1 - p)
                       : -gamma * std::pow(p, gamma - 1) * log_q + std::pow(p, gamma) / (1 - p);
        of_probability[k] += weights[at(kBackgroundEntropy, k)] * slope;
      }
    }
    double mean = 0;
    for (size_t k = 0; k < classes; ++k) {
      mean += probability[k] * of_probability[k];
    }
    for (size_t k = 0; k < classes; ++k) {
      const double p = probability[k];
      gradient[from[k]] +=
          softmax ? p * (of_probability[k] - mean) : p * (1 - p) * of_probability[k];
    }
  }
  static double softplus(double value) {
    return std::max(value, 0.0) + std::log1p(std::exp(-std::abs(value)));
  }

  const Case c_;
  const Geometry g_;
  std::mt19937_64 random_;
  const WinnerType winner_type_;
  Tensor logits_;
  std::vector<int64_t> labels_;
  std::vector<uint8_t> mask_;
  std::vector<uint8_t> gate_;
  Tensor winners_;
  std::vector<int64_t> wanted_winners_;
};

Geometry image(int64_t batch, int64_t channels, std::array<int64_t, 3> size,
               std::array<int64_t, 3> window) {
  Geometry geometry;
  geometry.batch = batch;
  geometry.channels = channels;
  for (int axis = 0; axis < kAxes; ++axis) {
    geometry.size[axis] = size[axis];
    geometry.window[axis] = window[axis];
  }
  return geometry;
}

}  // namespace

int main() {
  std::printf("kernels: %s\n", cpu::kernels().name);
  const Geometry images[] = {
      image(1, 1, {1, 1, 1}, {1, 1, 3}),      image(2, 2, {1, 1, 37}, {1, 1, 5}),
      image(1, 2, {9, 1, 67}, {3, 1, 3}),     image(1, 3, {19, 1, 31}, {5, 1, 3}),
      image(2, 2, {13, 1, 130}, {11, 1, 11}), image(1, 2, {4, 1, 20}, {17, 1, 17}),
      image(1, 3, {5, 7, 33}, {3, 3, 3}),     image(1, 2, {6, 5, 17}, {1, 3, 3}),
      image(1, 2, {6, 9, 70}, {5, 5, 5}),     image(1, 9, {3, 4, 18}, {3, 3, 3}),
  };
  int64_t cases = 0;
  uint64_t seed = 1;
  for (const Geometry& geometry : images) {
    for (int type = 0; type < 4; ++type) {
      for (int variant = 0; variant < 6; ++variant) {
        const Case c{geometry,
                     static_cast<FloatType>(type),
                     static_cast<Layout>(variant % 3),
                     variant == 1 || variant == 4,
                     variant == 2 || variant == 5,
                     variant >= 3,
                     variant % 2 == 1,
                     variant == 0 || variant == 3};
        Check check(c, seed++);
        check.forward();
        if (!c.special) {
          check.scatter_and_gather();
          for (const double gamma : {0.0, 2.0, 1.5, 0.7}) {
            check.dice_ce(!c.masks && geometry.channels > 1, true, variant >= 4, gamma);
          }
        } else {
          check.scatter_and_gather();
        }
        ++cases;
      }
    }
  }
  std::printf("%lld cases: forward, winners, scatter, gather, fused statistics and gradients\n",
              static_cast<long long>(cases));
  return 0;
}
