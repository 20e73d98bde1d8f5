// What the target says of one pixel, in whatever dtype it comes.
#pragma once

#include "half_floats.h"
#include "space.h"

namespace scnp::cuda {

// The class of a pixel in one channel. An invalid pixel counts as no neighbour.
enum PixelClass : uint8_t { kBackground = 0, kForeground = 1, kInvalid = 2 };

// A value of the target, as the mathematical number that it is: an integer, or a double (every
// float, and integers above the largest int64_t).
struct Label {
  bool is_integer;
  int64_t integer;
  double real;

  // Compares exactly: 255 is not -1 of an int8 map, and 2^63 is not the nearest double of 2^63-1.
  __device__ bool equals(int64_t number) const {
    if (is_integer) {
      return integer == number;
    }
    constexpr double two_to_63 = 9223372036854775808.0;
    const auto nearest = static_cast<double>(number);
    return real == nearest && nearest < two_to_63 && static_cast<int64_t>(nearest) == number;
  }
  __device__ bool is_foreground_of_masks() const {
    return is_integer ? integer > 0 : real > 0.5;
  }
  __device__ bool is_below(int64_t count) const {
    if (is_integer) {
      return 0 <= integer && integer < count;
    }
    // Written so that NaN and fractions are not.
    const bool inside = 0 <= real && real < static_cast<double>(count);
    return inside && static_cast<double>(static_cast<int64_t>(real)) == real;
  }
};

__device__ inline Label integer_label(int64_t value) {
  return {true, value, 0};
}
__device__ inline Label real_label(double value) {
  return {false, 0, value};
}

// The value `offset` elements into the target.
__device__ inline Label read_label(const Target& target, int64_t offset) {
  switch (target.type) {
    case TargetType::kBool:  // its byte may hold anything; only "zero or not" counts
      return integer_label(static_cast<const uint8_t*>(target.data)[offset] != 0);
    case TargetType::kUInt8:
      return integer_label(static_cast<const uint8_t*>(target.data)[offset]);
    case TargetType::kInt8:
      return integer_label(static_cast<const int8_t*>(target.data)[offset]);
    case TargetType::kUInt16:
      return integer_label(static_cast<const uint16_t*>(target.data)[offset]);
    case TargetType::kInt16:
      return integer_label(static_cast<const int16_t*>(target.data)[offset]);
    case TargetType::kUInt32:
      return integer_label(static_cast<const uint32_t*>(target.data)[offset]);
    case TargetType::kInt32:
      return integer_label(static_cast<const int32_t*>(target.data)[offset]);
    case TargetType::kUInt64: {
      const uint64_t value = static_cast<const uint64_t*>(target.data)[offset];
      return value >> 63 == 0 ? integer_label(static_cast<int64_t>(value))
                              : real_label(static_cast<double>(value));
    }
    case TargetType::kInt64:
      return integer_label(static_cast<const int64_t*>(target.data)[offset]);
    case TargetType::kFloat16:
      return real_label(widen(static_cast<const __half*>(target.data)[offset]));
    case TargetType::kBFloat16:
      return real_label(widen(static_cast<const __nv_bfloat16*>(target.data)[offset]));
    case TargetType::kFloat32:
      return real_label(static_cast<const float*>(target.data)[offset]);
    case TargetType::kFloat64:
      return real_label(static_cast<const double*>(target.data)[offset]);
  }
  return real_label(0.5);  // no class; never reached
}

// Where a pixel's label and its byte of the mask are, in elements. Along a row both advance by
// their strides. (A label map and the mask have stride 0 along the channels.)
struct PixelOffsets {
  int64_t label = 0;
  int64_t mask = 0;

  __device__ PixelOffsets(const Target& target, const Pixel& pixel)
      : label(offset_of(target.strides, pixel)), mask(offset_of(target.mask, pixel)) {
  }
  __device__ void advance(const Target& target, int32_t pixels) {
    label += pixels * target.strides.axis[kInner];
    mask += pixels * target.mask.axis[kInner];
  }
};

__device__ inline bool is_invalid(const Target& target, const Label& label, int64_t mask_offset) {
  if (target.has_mask && target.mask.data[mask_offset] == 0) {
    return true;
  }
  return target.has_ignore_index && label.equals(target.ignore_index);
}

__device__ inline PixelClass class_of_pixel(const Target& target, int64_t channel,
                                            const PixelOffsets& at) {
  const Label label = read_label(target, at.label);
  if (is_invalid(target, label, at.mask)) {
    return kInvalid;
  }
  const bool foreground =
      target.is_masks ? label.is_foreground_of_masks() : label.equals(target.first_class + channel);
  return foreground ? kForeground : kBackground;
}

__device__ inline PixelClass class_of_pixel(const Target& target, const Pixel& pixel) {
  return class_of_pixel(target, pixel.channel, PixelOffsets(target, pixel));
}

// Whether the target holds a value there that is not permitted. An invalid pixel's value is never
// read.
__device__ inline bool is_fault(const Target& target, const Pixel& pixel) {
  const PixelOffsets at(target, pixel);
  const Label label = read_label(target, at.label);
  const bool permitted = label.is_below(target.is_masks ? 2 : target.label_count);
  return !permitted && !is_invalid(target, label, at.mask);
}

}  // namespace scnp::cuda
