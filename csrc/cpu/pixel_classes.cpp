#include "pixel_classes.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "vectorize.h"

namespace scnp::cpu {
namespace {

// A bool tensor's byte may hold anything; only "zero or not" counts.
struct BoolByte {
  uint8_t byte;
};

// The values of a target as they compare: integers as they are, floats exactly as double.
inline uint8_t comparable(BoolByte value) {
  return value.byte != 0;
}
inline double comparable(c10::Half value) {
  return static_cast<float>(value);
}
inline double comparable(c10::BFloat16 value) {
  return static_cast<float>(value);
}
inline double comparable(float value) {
  return value;
}
template <class T>
inline T comparable(T value) {
  return value;
}

// A label as a value of the target's type. One that the type cannot hold matches nothing:
// 255 is not -1 of an int8 map, and -1 is not 255 of a uint8 map.
template <class Comparable>
struct Wanted {
  bool exists = false;
  Comparable value{};

  explicit Wanted(int64_t label) {
    if constexpr (std::is_floating_point_v<Comparable>) {
      constexpr double two_to_63 = 9223372036854775808.0;
      const auto nearest = static_cast<double>(label);
      exists = nearest < two_to_63 && static_cast<int64_t>(nearest) == label;
    } else {
      exists = std::in_range<Comparable>(label);
    }
    value = exists ? static_cast<Comparable>(label) : Comparable{};
  }
};

struct Row {
  int64_t count;
  int64_t target_stride;
  const uint8_t* mask;  // nullptr: every pixel is valid
  int64_t mask_stride;
};

template <class T>
bool permitted(const Target& target, T value) {
  if (target.is_masks) {
    return value == T{0} || value == T{1};
  }
  if constexpr (std::is_floating_point_v<T>) {
    // Written so that NaN and fractions are not permitted.
    return value >= 0 && value < static_cast<double>(target.label_count) &&
           value == static_cast<double>(static_cast<int64_t>(value));
  } else {
    return std::cmp_greater_equal(value, 0) && std::cmp_less(value, target.label_count);
  }
}

template <class T, bool kUnitStride>
void classify(const Target& target, int64_t channel, const Row& row, const T* values,
              PixelClass* classes) {
  using Comparable = decltype(comparable(values[0]));
  const int64_t stride = kUnitStride ? 1 : row.target_stride;
  if (target.is_masks) {
    for (int64_t i = 0; i < row.count; ++i) {
      const Comparable value = comparable(values[i * stride]);
      if constexpr (std::is_floating_point_v<Comparable>) {
        classes[i] = value > 0.5 ? kForeground : kBackground;
      } else {
        classes[i] = value > 0 ? kForeground : kBackground;
      }
    }
  } else {
    const Wanted<Comparable> foreground(target.first_class + channel);
    if (!foreground.exists) {
      std::fill_n(classes, row.count, kBackground);
    } else {
      SCNP_VECTORIZE
      for (int64_t i = 0; i < row.count; ++i) {
        const bool same = comparable(values[i * stride]) == foreground.value;
        classes[i] = same ? kForeground : kBackground;
      }
    }
  }
  if (target.has_ignore_index) {
    const Wanted<Comparable> ignored(target.ignore_index);
    if (ignored.exists) {
      SCNP_VECTORIZE
      for (int64_t i = 0; i < row.count; ++i) {
        const bool same = comparable(values[i * stride]) == ignored.value;
        classes[i] = same ? kInvalid : classes[i];
      }
    }
  }
  if (row.mask != nullptr) {
    for (int64_t i = 0; i < row.count; ++i) {
      classes[i] = row.mask[i * row.mask_stride] == 0 ? kInvalid : classes[i];
    }
  }
}

// Invalid pixels hold no label that anybody reads, so they are not checked.
template <class T>
void check(const Target& target, const Row& row, const T* values, const PixelClass* classes,
           int64_t position, Fault& fault) {
  uint8_t bad = 0;
  for (int64_t i = 0; i < row.count; ++i) {
    const bool allowed = permitted(target, comparable(values[i * row.target_stride]));
    bad |= static_cast<uint8_t>(!allowed & (classes[i] != kInvalid));
  }
  if (bad == 0) {
    return;
  }
  for (int64_t i = 0; i < row.count; ++i) {
    const auto value = comparable(values[i * row.target_stride]);
    if (classes[i] != kInvalid && !permitted(target, value)) {
      fault.report(position + i, static_cast<double>(value));
      return;
    }
  }
}

template <class T>
void read_typed(const Target& target, const Geometry& geometry, int64_t batch, int64_t channel,
                int64_t outer, int64_t middle, int64_t inner, int64_t count, PixelClass* classes,
                Fault& fault) {
  // A label map has stride 0 along the channels: all of them read the same row.
  const T* values = static_cast<const T*>(target.data) +
                    target.strides.offset(batch, channel, outer, middle, inner);
  Row row{count, target.strides.axis[kInner], nullptr, target.mask.axis[kInner]};
  if (target.has_mask) {
    row.mask = target.mask.at(batch, 0, outer, middle, inner);
  }
  if (row.target_stride == 1) {
    classify<T, true>(target, channel, row, values, classes);
  } else {
    classify<T, false>(target, channel, row, values, classes);
  }
  if (target.validate && (target.is_masks || channel == 0)) {
    const int64_t image = target.is_masks ? batch * geometry.channels + channel : batch;
    const int64_t position =
        ((image * geometry.size[kOuter] + outer) * geometry.size[kMiddle] + middle) *
            geometry.size[kInner] +
        inner;
    check(target, row, values, classes, position, fault);
  }
}

}  // namespace

void read_pixel_classes(const Target& target, const Geometry& geometry, int64_t batch,
                        int64_t channel, int64_t outer, int64_t middle, int64_t inner,
                        int64_t count, PixelClass* classes, Fault& fault) {
  const auto read = [&]<class T>(T /*type*/) {
    read_typed<T>(target, geometry, batch, channel, outer, middle, inner, count, classes, fault);
  };
  switch (target.type) {
    case TargetType::kBool:
      return read(BoolByte{});
    case TargetType::kUInt8:
      return read(uint8_t{});
    case TargetType::kInt8:
      return read(int8_t{});
    case TargetType::kUInt16:
      return read(uint16_t{});
    case TargetType::kInt16:
      return read(int16_t{});
    case TargetType::kUInt32:
      return read(uint32_t{});
    case TargetType::kInt32:
      return read(int32_t{});
    case TargetType::kUInt64:
      return read(uint64_t{});
    case TargetType::kInt64:
      return read(int64_t{});
    case TargetType::kFloat16:
      return read(c10::Half{});
    case TargetType::kBFloat16:
      return read(c10::BFloat16{});
    case TargetType::kFloat32:
      return read(float{});
    case TargetType::kFloat64:
      return read(double{});
  }
}

}  // namespace scnp::cpu
