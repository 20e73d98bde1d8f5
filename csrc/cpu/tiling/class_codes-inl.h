// Reads a row of the target, in whatever dtype and layout it comes, into one byte per pixel that
// serves a group of channels.
//
//     label map, channels 2 to 4     labels  2  4  0  3  255      (ignore_index 255)
//                                    codes   0  2  -  1  x        - nobody's class, x invalid
//
// Channel c of the group is foreground where the code is c, invalid where it is x, and background
// elsewhere. Masks differ between channels, so their groups have one channel.
#pragma once

#include "../memory/strided-inl.h"
#include "../vector/half_floats-inl.h"

namespace scnp::cpu::SCNP_CAPABILITY {

constexpr uint8_t kNobodysClass = 254;
constexpr uint8_t kInvalidPixel = 255;
constexpr int64_t kLargestGroup = 250;

inline int64_t channels_per_group(const Target& target) {
  return target.is_masks ? 1 : kLargestGroup;
}

// Where a row of pixels stands, and how many they are.
struct RowPlace {
  int64_t batch = 0;
  int64_t outer = 0;
  int64_t middle = 0;
  int64_t inner = 0;
  int64_t count = 0;
};

// A bool tensor's byte may hold anything; only "zero or not" counts.
struct BoolByte {
  uint8_t byte;
};

// The values of a target as they compare: integers as they are, floats exactly as double.
inline uint8_t comparable(BoolByte value) {
  return value.byte != 0;
}
inline double comparable(Float16 value) {
  return widen(value);
}
inline double comparable(BFloat16 value) {
  return widen(value);
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

// The code of a label among `count` channels, the first of which has class `first`.
template <class T>
inline uint8_t code_of_label(T label, int64_t first, int64_t count) {
  if constexpr (std::is_floating_point_v<T>) {
    // NaN and fractions are nobody's class: they fail one of the comparisons.
    const T channel = label - static_cast<T>(first);
    const bool inside = channel >= 0 && channel < static_cast<T>(count);
    const auto code = static_cast<int32_t>(inside ? channel : T{0});
    return static_cast<uint8_t>(inside && code == channel ? code : kNobodysClass);
  } else if constexpr (sizeof(T) == 8) {
    // Unsigned, what lies below `first` wraps around to beyond `count`.
    const uint64_t channel = static_cast<uint64_t>(label) - static_cast<uint64_t>(first);
    return static_cast<uint8_t>(channel < static_cast<uint64_t>(count) ? channel : kNobodysClass);
  } else {
    // Every label and class of a narrow map fits; a class beyond is nobody's here.
    const int64_t wide = static_cast<int64_t>(label) - first;
    return static_cast<uint8_t>(wide >= 0 && wide < count ? wide : kNobodysClass);
  }
}

template <class T>
inline bool is_foreground(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    return value > 0.5;
  } else {
    return value != 0 && (std::is_unsigned_v<T> || value > 0);
  }
}

template <class T>
inline bool permitted_in_masks(T value) {
  return value == T{0} || value == T{1};
}

template <class T>
inline bool permitted_in_label_map(T value, int64_t label_count) {
  if constexpr (std::is_floating_point_v<T>) {
    // Written so that NaN and fractions are not permitted.
    const bool inside = value >= 0 && value < static_cast<T>(label_count);
    return inside && static_cast<T>(static_cast<int64_t>(inside ? value : T{0})) == value;
  } else {
    // Unsigned, a negative label is larger than any count.
    return static_cast<uint64_t>(static_cast<int64_t>(value)) <
               static_cast<uint64_t>(label_count) &&
           (std::is_signed_v<T> || sizeof(T) < 8 || static_cast<int64_t>(value) >= 0);
  }
}

template <class T, bool kUnitStride>
void read_codes_typed(const Target& target, Span group, const RowPlace& place, const T* values,
                      const uint8_t* mask, uint8_t* codes, bool& bad) {
  using Comparable = decltype(comparable(values[0]));
  const int64_t stride = kUnitStride ? 1 : target.strides.axis[kInner];
  const int64_t count = place.count;
  if (target.is_masks) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = is_foreground(comparable(values[i * stride])) ? 0 : kNobodysClass;
    }
  } else {
    const int64_t first = target.first_class + group.begin;
    const int64_t channels = group.end - group.begin;
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = code_of_label(comparable(values[i * stride]), first, channels);
    }
  }
  const Wanted<Comparable> ignored(target.ignore_index);
  if (target.has_ignore_index && ignored.exists) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      const bool same = comparable(values[i * stride]) == ignored.value;
      codes[i] = same ? kInvalidPixel : codes[i];
    }
  }
  if (mask != nullptr) {
    const int64_t mask_stride = target.mask.axis[kInner];
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = mask[i * mask_stride] == 0 ? kInvalidPixel : codes[i];
    }
  }
  // Invalid pixels hold no label that anybody reads, so they are not checked.
  if (target.validate) {
    uint8_t wrong = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Comparable value = comparable(values[i * stride]);
      const bool allowed = target.is_masks ? permitted_in_masks(value)
                                           : permitted_in_label_map(value, target.label_count);
      wrong |= static_cast<uint8_t>(!allowed & (codes[i] != kInvalidPixel));
    }
    bad = wrong != 0;
  }
}

template <class T>
void report_first_bad(const Target& target, const RowPlace& place, const T* values,
                      const uint8_t* codes, int64_t position, Fault& fault) {
  for (int64_t i = 0; i < place.count; ++i) {
    const auto value = comparable(values[i * target.strides.axis[kInner]]);
    const bool allowed = target.is_masks ? permitted_in_masks(value)
                                         : permitted_in_label_map(value, target.label_count);
    if (!allowed && codes[i] != kInvalidPixel) {
      return fault.report(position + i, static_cast<double>(value));
    }
  }
}

template <class T>
void read_codes_of_type(const Target& target, const Geometry& geometry, Span group,
                        const RowPlace& place, uint8_t* codes, Fault& fault) {
  // A label map has stride 0 along the channels: all of them read the same row.
  const T* values =
      static_cast<const T*>(target.data) +
      target.strides.offset(place.batch, group.begin, place.outer, place.middle, place.inner);
  const uint8_t* mask = target.has_mask
                            ? target.mask.at(place.batch, 0, place.outer, place.middle, place.inner)
                            : nullptr;
  bool bad = false;
  if (target.strides.axis[kInner] == 1) {
    read_codes_typed<T, true>(target, group, place, values, mask, codes, bad);
  } else {
    read_codes_typed<T, false>(target, group, place, values, mask, codes, bad);
  }
  if (bad) {
    const int64_t image =
        target.is_masks ? place.batch * geometry.channels + group.begin : place.batch;
    const int64_t row =
        (image * geometry.size[kOuter] + place.outer) * geometry.size[kMiddle] + place.middle;
    report_first_bad(target, place, values, codes, row * geometry.size[kInner] + place.inner,
                     fault);
  }
}

inline int64_t bytes_of(TargetType type) {
  switch (type) {
    case TargetType::kBool:
    case TargetType::kUInt8:
    case TargetType::kInt8:
      return 1;
    case TargetType::kUInt16:
    case TargetType::kInt16:
    case TargetType::kFloat16:
    case TargetType::kBFloat16:
      return 2;
    case TargetType::kUInt32:
    case TargetType::kInt32:
    case TargetType::kFloat32:
      return 4;
    case TargetType::kUInt64:
    case TargetType::kInt64:
    case TargetType::kFloat64:
      return 8;
  }
  return 1;
}

// codes[i] = the code, for the channels of the group, of the i-th pixel of the row. With
// target.validate, values that are not permitted are reported to `fault`.
inline void read_pixel_codes(const Target& target, const Geometry& geometry, Span group,
                             const RowPlace& place, uint8_t* codes, Fault& fault) {
  const auto read = [&]<class T>(T /*type*/) {
    read_codes_of_type<T>(target, geometry, group, place, codes, fault);
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
      return read(Float16{});
    case TargetType::kBFloat16:
      return read(BFloat16{});
    case TargetType::kFloat32:
      return read(float{});
    case TargetType::kFloat64:
      return read(double{});
  }
}

// Asks for the labels or masks of a row that will be read soon; it may lie outside of the image.
inline void fetch_pixel_codes(const Target& target, Span group, const RowPlace& place) {
  const int64_t bytes = bytes_of(target.type);
  const char* row = static_cast<const char*>(target.data) +
                    bytes * target.strides.offset(place.batch, group.begin, place.outer,
                                                  place.middle, place.inner);
  fetch_ahead(row, place.count * bytes, target.strides.axis[kInner]);
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
