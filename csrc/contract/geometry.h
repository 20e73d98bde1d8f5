// The contract that every native backend shares: how an image is laid out as three axes, how the
// taps of a window are numbered, and how a target says which pixels are foreground.
//
// It includes no torch header, so that kernels compile quickly and run under any host.
//
//   an image is always seen as three axes, outer, middle, inner:
//
//       1D  [W]        ->  [1, 1, W]
//       2D  [H, W]     ->  [H, 1, W]      (so that 2D and 3D both march along the outer axis)
//       3D  [D, H, W]  ->  [D, H, W]
//
//   the taps of a window are numbered in raster order, whether or not the border clips them:
//
//       2D, window 3x3:   0 1 2
//                         3 4 5      4 is the centre; a winner is the tap where the winning
//                         6 7 8      neighbour sits, seen from the pixel that it replaces
#pragma once

#include <cstdint>

// Marks functions that both the host and a GPU's kernels call.
#if defined(__CUDACC__)
#define SCNP_HOST_DEVICE __host__ __device__
#else
#define SCNP_HOST_DEVICE
#endif

namespace scnp {

constexpr int kAxes = 3;
enum Axis { kOuter = 0, kMiddle = 1, kInner = 2 };

struct Geometry {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t size[kAxes] = {1, 1, 1};    // pixels along each axis
  int64_t window[kAxes] = {1, 1, 1};  // odd; may be larger than the image

  // How far a window reaches without leaving the image for every pixel. Beyond that it never holds
  // a neighbour, so no kernel looks there.
  SCNP_HOST_DEVICE int64_t reach(int axis) const {
    const int64_t half = window[axis] / 2;
    const int64_t farthest = size[axis] - 1;
    return half < farthest ? half : farthest;
  }
  SCNP_HOST_DEVICE int64_t taps() const {
    return window[kOuter] * window[kMiddle] * window[kInner];
  }
  // The taps of each of the window's planes.
  SCNP_HOST_DEVICE int64_t taps_of_plane() const {
    return window[kMiddle] * window[kInner];
  }
  // The number of the tap (outer, middle, inner) pixels from the centre.
  SCNP_HOST_DEVICE int64_t tap(int64_t outer, int64_t middle, int64_t inner) const {
    return ((outer + window[kOuter] / 2) * window[kMiddle] + middle + window[kMiddle] / 2) *
               window[kInner] +
           inner + window[kInner] / 2;
  }
  // The number of the first tap in the plane `outer` pixels from the centre.
  SCNP_HOST_DEVICE int64_t first_tap_of_plane(int64_t outer) const {
    return (outer + window[kOuter] / 2) * taps_of_plane();
  }
  SCNP_HOST_DEVICE int64_t centre_tap() const {
    return taps() / 2;
  }
  SCNP_HOST_DEVICE int64_t pixels() const {
    return size[kOuter] * size[kMiddle] * size[kInner];
  }
  SCNP_HOST_DEVICE int64_t logits() const {
    return batch * channels * pixels();
  }
};

// A tensor as kernels see it: a pointer and strides, counted in elements. A stride of 0 repeats.
template <class T>
struct View {
  T* data = nullptr;
  int64_t batch = 0;
  int64_t channel = 0;
  int64_t axis[kAxes] = {0, 0, 0};

  SCNP_HOST_DEVICE T* at(int64_t b, int64_t c, int64_t outer, int64_t middle, int64_t inner) const {
    return data + offset(b, c, outer, middle, inner);
  }
  SCNP_HOST_DEVICE int64_t offset(int64_t b, int64_t c, int64_t outer, int64_t middle,
                                  int64_t inner) const {
    return b * batch + c * channel + outer * axis[kOuter] + middle * axis[kMiddle] +
           inner * axis[kInner];
  }
};

enum class FloatType : uint8_t { kFloat16, kBFloat16, kFloat32, kFloat64 };

enum class TargetType : uint8_t {
  kBool,
  kUInt8,
  kInt8,
  kUInt16,
  kInt16,
  kUInt32,
  kInt32,
  kUInt64,
  kInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
};

enum class WinnerType : uint8_t { kUInt8, kInt16, kInt32 };

// The most taps that a window may have for winners of each type to hold all their numbers. Winners
// of one byte keep 255 free, the number of no tap.
constexpr int64_t kMostTapsOfUInt8 = 255;
constexpr int64_t kMostTapsOfInt16 = 32767;
constexpr int64_t kMostTaps = 2147483647;

// The narrowest type for the winners of a window.
constexpr WinnerType winner_type_for(int64_t taps) {
  return taps <= kMostTapsOfUInt8   ? WinnerType::kUInt8
         : taps <= kMostTapsOfInt16 ? WinnerType::kInt16
                                    : WinnerType::kInt32;
}

SCNP_HOST_DEVICE constexpr int64_t bytes_of(WinnerType type) {
  return type == WinnerType::kUInt8 ? 1 : type == WinnerType::kInt16 ? 2 : 4;
}

// Calls body with a value of the C++ type that holds the winners, and returns what it returns.
template <class Body>
auto with_winner_type(WinnerType type, const Body& body) {
  switch (type) {
    case WinnerType::kUInt8:
      return body(uint8_t{});
    case WinnerType::kInt16:
      return body(int16_t{});
    case WinnerType::kInt32:
      break;
  }
  return body(int32_t{});
}

// How the target is read. Python decides all of it from global shapes; kernels never infer it.
struct Target {
  const void* data = nullptr;
  TargetType type = TargetType::kInt64;
  View<const uint8_t> strides;  // only the strides are used, in elements of `type`
  bool is_masks = false;        // one binary mask per channel; otherwise a label map (channel = 0)
  int64_t first_class = 0;      // label map: channel k is foreground where label == first_class + k
  int64_t label_count = 0;      // label map: permitted labels are [0, label_count)
  bool has_ignore_index = false;
  int64_t ignore_index = 0;
  bool has_mask = false;
  View<const uint8_t> mask;  // bool, [B, *spatial]: false where a pixel is invalid
  bool validate = false;
};

// Where pixels are penalized. Elsewhere they keep their own logit, in every channel, and are their
// own winners; their neighbours see them all the same.
struct Gate {
  bool exists = false;
  View<const uint8_t> view;  // bool, [B, *spatial]: false where a pixel keeps its own logit
};

// The first pixel, in memory order of the image, whose target is not permitted.
struct Fault {
  bool found = false;
  int64_t position = 0;  // over [B, C, outer, middle, inner]
  double value = 0;

  void report(int64_t at, double what) {
    if (!found || at < position) {
      *this = {true, at, what};
    }
  }
  void merge(const Fault& other) {
    if (other.found) {
      report(other.position, other.value);
    }
  }
};

}  // namespace scnp
