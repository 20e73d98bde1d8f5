// The loops behind read_class_codes(): a row of labels or masks of any dtype becomes codes.
#pragma once

#include "../targets/prologue.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../../contract/geometry.h"
#include "../memory/strided-inl.h"
#include "../tiling/tiles.h"
#include "../vector/half_floats-inl.h"
#include "class_codes-inl.h"
#if SCNP_AVX2
#include "labels_avx2-inl.h"
#endif

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// A byte of a bool tensor may hold anything; only whether it is zero counts.
struct BoolByte {
  uint8_t byte;
};

// Returns a target's value as it is compared: integers as they are, floats exactly, as double.
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

// Returns the code of a label among `count` channels, the first of which has class `first`.
template <class T>
inline uint8_t code_of_label(T label, int64_t first, int64_t count) {
  if constexpr (std::is_floating_point_v<T>) {
    // NaN and fractions have no class: they fail one of the comparisons.
    const T channel = label - static_cast<T>(first);
    const bool inside = channel >= 0 && channel < static_cast<T>(count);
    const auto code = static_cast<int32_t>(inside ? channel : T{0});
    return static_cast<uint8_t>(inside && code == channel ? code : kNoClass);
  } else if constexpr (sizeof(T) == 8) {
    // As unsigned numbers, labels below `first` wrap around to beyond `count`.
    const uint64_t channel = static_cast<uint64_t>(label) - static_cast<uint64_t>(first);
    return static_cast<uint8_t>(channel < static_cast<uint64_t>(count) ? channel : kNoClass);
  } else {
    // Every label and class of a narrow map fits into 64 bits.
    const int64_t wide = static_cast<int64_t>(label) - first;
    return static_cast<uint8_t>(wide >= 0 && wide < count ? wide : kNoClass);
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
    // NaN and fractions fail one of the comparisons.
    const bool inside = value >= 0 && value < static_cast<T>(label_count);
    return inside && static_cast<T>(static_cast<int64_t>(inside ? value : T{0})) == value;
  } else {
    // As an unsigned number, a negative label is larger than any count.
    return static_cast<uint64_t>(static_cast<int64_t>(value)) <
               static_cast<uint64_t>(label_count) &&
           (std::is_signed_v<T> || sizeof(T) < 8 || static_cast<int64_t>(value) >= 0);
  }
}

// Writes the codes of [n] labels among `count` channels, the first of which has class `first`.
template <class T>
inline void codes_of_labels(const T* values, int64_t first, int64_t count, int64_t n,
                            uint8_t* codes) {
  int64_t begin = 0;
#if SCNP_AVX2
  if constexpr (std::is_same_v<T, int64_t>) {
    begin = codes_of_whole_blocks(values, first, count, n, codes);
  }
#endif
  SCNP_VECTORIZE
  for (int64_t i = begin; i < n; ++i) {
    codes[i] = code_of_label(comparable(values[i]), first, count);
  }
}

// Returns whether one of the codes is that of a label without a class.
inline bool has_no_class(const uint8_t* codes, int64_t count) {
  uint8_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    found |= static_cast<uint8_t>(codes[i] == kNoClass);
  }
  return found != 0;
}

// Reads [count] contiguous values. Returns whether one of them is not permitted.
template <class T>
bool read_codes_of_values(const Target& target, Span channels, const T* values, const uint8_t* mask,
                          int64_t count, uint8_t* codes) {
  using Comparable = decltype(comparable(values[0]));
  if (target.is_masks) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = is_foreground(comparable(values[i])) ? 0 : kNoClass;
    }
  } else {
    const int64_t first = target.first_class + channels.begin;
    codes_of_labels(values, first, channels.length(), count, codes);
  }
  const Wanted<Comparable> ignored(target.ignore_index);
  if (target.has_ignore_index && ignored.exists) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < count; ++i) {
      const bool same = comparable(values[i]) == ignored.value;
      codes[i] = same ? kInvalidPixel : codes[i];
    }
  }
  if (mask != nullptr) {
    const int64_t mask_stride = target.mask.axis[kInner];
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = mask[i * mask_stride] == 0 ? kInvalidPixel : codes[i];
    }
  }
  // The label of an invalid pixel is never read, so it is not checked.
  if (!target.validate) {
    return false;
  }
  // Where the channels are all classes, the labels that are permitted have one.
  if (!target.is_masks && target.first_class + channels.begin == 0 &&
      channels.length() == target.label_count) {
    return has_no_class(codes, count);
  }
  uint8_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Comparable value = comparable(values[i]);
    const bool allowed = target.is_masks ? permitted_in_masks(value)
                                         : permitted_in_label_map(value, target.label_count);
    wrong |= static_cast<uint8_t>(!allowed & (codes[i] != kInvalidPixel));
  }
  return wrong != 0;
}

// As above, but of values that lie `stride` elements apart.
template <class T>
bool read_codes_of_strided(const Target& target, Span channels, const T* values, int64_t stride,
                           const uint8_t* mask, int64_t count, uint8_t* codes) {
  constexpr int64_t most = 256;
  T contiguous[most];
  bool bad = false;
  for (int64_t begin = 0; begin < count; begin += most) {
    const int64_t n = std::min(most, count - begin);
    gather_row(values + begin * stride, stride, n, contiguous);
    const uint8_t* piece = mask == nullptr ? nullptr : mask + begin * target.mask.axis[kInner];
    bad |= read_codes_of_values(target, channels, contiguous, piece, n, codes + begin);
  }
  return bad;
}

template <class T>
void report_first_bad(const Target& target, const PixelRow& row, const T* values,
                      const uint8_t* codes, int64_t position, Fault& fault) {
  for (int64_t i = 0; i < row.count; ++i) {
    const auto value = comparable(values[i * target.strides.axis[kInner]]);
    const bool allowed = target.is_masks ? permitted_in_masks(value)
                                         : permitted_in_label_map(value, target.label_count);
    if (!allowed && codes[i] != kInvalidPixel) {
      return fault.report(position + i, static_cast<double>(value));
    }
  }
}

template <class T>
void read_codes_of_type(const Target& target, const Geometry& geometry, Span channels,
                        const PixelRow& row, uint8_t* codes, Fault& fault) {
  // A label map has stride 0 along the channels: all of them read the same row.
  const T* values =
      static_cast<const T*>(target.data) +
      target.strides.offset(row.batch, channels.begin, row.outer, row.middle, row.inner);
  const uint8_t* mask =
      target.has_mask ? target.mask.at(row.batch, 0, row.outer, row.middle, row.inner) : nullptr;
  const int64_t stride = target.strides.axis[kInner];
  const bool bad =
      stride == 1 ? read_codes_of_values(target, channels, values, mask, row.count, codes)
                  : read_codes_of_strided(target, channels, values, stride, mask, row.count, codes);
  if (bad) {
    const int64_t image =
        target.is_masks ? row.batch * geometry.channels + channels.begin : row.batch;
    const int64_t rows_before =
        (image * geometry.size[kOuter] + row.outer) * geometry.size[kMiddle] + row.middle;
    report_first_bad(target, row, values, codes, rows_before * geometry.size[kInner] + row.inner,
                     fault);
  }
}

void read_class_codes(const Target& target, const Geometry& geometry, Span channels,
                      const PixelRow& row, uint8_t* codes, Fault& fault) {
  const auto read = [&]<class T>(T /*type*/) {
    read_codes_of_type<T>(target, geometry, channels, row, codes, fault);
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

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
