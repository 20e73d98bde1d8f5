// Tensors as the kernels see them: types, geometry, views, and the errors where they do not fit.
// For the bindings of every device.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "../contract/calls.h"

namespace scnp {

inline FloatType float_type(const at::Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case at::kHalf:
      return FloatType::kFloat16;
    case at::kBFloat16:
      return FloatType::kBFloat16;
    case at::kFloat:
      return FloatType::kFloat32;
    case at::kDouble:
      return FloatType::kFloat64;
    default:
      TORCH_CHECK_TYPE(false, name, ": got ", tensor.scalar_type(),
                       ", takes float16, bfloat16, float32 or float64");
  }
}

inline TargetType target_type(const at::Tensor& target) {
  switch (target.scalar_type()) {
    case at::kBool:
      return TargetType::kBool;
    case at::kByte:
      return TargetType::kUInt8;
    case at::kChar:
      return TargetType::kInt8;
    case at::kUInt16:
      return TargetType::kUInt16;
    case at::kShort:
      return TargetType::kInt16;
    case at::kUInt32:
      return TargetType::kUInt32;
    case at::kInt:
      return TargetType::kInt32;
    case at::kUInt64:
      return TargetType::kUInt64;
    case at::kLong:
      return TargetType::kInt64;
    case at::kHalf:
      return TargetType::kFloat16;
    case at::kBFloat16:
      return TargetType::kBFloat16;
    case at::kFloat:
      return TargetType::kFloat32;
    case at::kDouble:
      return TargetType::kFloat64;
    default:
      TORCH_CHECK_TYPE(false, "target: got ", target.scalar_type(),
                       ", takes bool, an integer or a floating dtype");
  }
}

inline WinnerType winner_type(int64_t taps) {
  return taps <= 255 ? WinnerType::kUInt8 : taps <= 32767 ? WinnerType::kInt16 : WinnerType::kInt32;
}

inline at::ScalarType scalar_type(WinnerType type) {
  switch (type) {
    case WinnerType::kUInt8:
      return at::kByte;
    case WinnerType::kInt16:
      return at::kShort;
    case WinnerType::kInt32:
      return at::kInt;
  }
  TORCH_INTERNAL_ASSERT(false);
}

// The image axis where the spatial axis `spatial` (of `dimensions`) stands.
inline int axis_of(int64_t spatial, int64_t dimensions) {
  return dimensions == 2 && spatial == 0 ? kOuter : static_cast<int>(kAxes - dimensions + spatial);
}

inline Geometry geometry_of(const at::Tensor& logits, at::IntArrayRef kernel_size) {
  const int64_t dimensions = logits.dim() - 2;
  TORCH_CHECK_VALUE(1 <= dimensions && dimensions <= kAxes, "logits: got ", logits.dim(),
                    " axes, takes [B, C, *spatial] with 1 to 3 spatial axes");
  TORCH_CHECK_VALUE(static_cast<int64_t>(kernel_size.size()) == dimensions, "kernel_size: got ",
                    kernel_size.size(), " values, takes one per spatial axis");
  Geometry geometry;
  int64_t taps = 1;
  geometry.batch = logits.size(0);
  geometry.channels = logits.size(1);
  for (int64_t spatial = 0; spatial < dimensions; ++spatial) {
    const int axis = axis_of(spatial, dimensions);
    geometry.size[axis] = logits.size(2 + spatial);
    geometry.window[axis] = kernel_size[spatial];
    TORCH_CHECK_VALUE(kernel_size[spatial] % 2 == 1 && kernel_size[spatial] > 0,
                      "kernel_size: got ", kernel_size[spatial], ", takes odd positive integers");
    // Divided, because a product could overflow.
    TORCH_CHECK_VALUE(kernel_size[spatial] <= kMostTaps / taps, "kernel_size: got ", kernel_size,
                      ", takes windows of at most ", kMostTaps, " pixels");
    taps *= kernel_size[spatial];
  }
  return geometry;
}

// A view of a tensor [B, C, *spatial], or [B, *spatial] when it has no channels.
template <class T>
View<T> view_of(const at::Tensor& tensor, T* data, bool has_channels = true) {
  const int64_t first_spatial = has_channels ? 2 : 1;
  const int64_t dimensions = tensor.dim() - first_spatial;
  View<T> view;
  view.data = data;
  view.batch = tensor.stride(0);
  view.channel = has_channels ? tensor.stride(1) : 0;
  for (int64_t spatial = 0; spatial < dimensions; ++spatial) {
    view.axis[axis_of(spatial, dimensions)] = tensor.stride(first_spatial + spatial);
  }
  return view;
}

// A storage may have been given back or cut behind the tensor's back, as sharding frameworks do;
// reading such a tensor would end the process.
inline void check_storage(const at::Tensor& tensor, const char* name) {
  if (tensor.numel() == 0) {
    return;
  }
  int64_t last = tensor.storage_offset();
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    last += (tensor.size(axis) - 1) * tensor.stride(axis);
  }
  const auto needed = static_cast<uint64_t>(last + 1) * tensor.element_size();
  TORCH_CHECK_VALUE(needed <= tensor.storage().nbytes(), name, ": got a tensor of shape ",
                    tensor.sizes(), " whose storage holds ", tensor.storage().nbytes(),
                    " bytes, takes one that holds its elements (", needed, " bytes)");
}

inline View<const char> read(const at::Tensor& tensor, const char* name) {
  check_storage(tensor, name);
  return view_of(tensor, static_cast<const char*>(tensor.const_data_ptr()));
}
inline View<char> write(const at::Tensor& tensor) {
  return view_of(tensor, static_cast<char*>(tensor.mutable_data_ptr()));
}

inline void check_shape(const at::Tensor& tensor, const char* name, const at::Tensor& like,
                        bool has_channels = true) {
  bool same = tensor.dim() == like.dim() - (has_channels ? 0 : 1);
  for (int64_t axis = 0; same && axis < tensor.dim(); ++axis) {
    same = tensor.size(axis) == like.size(!has_channels && axis > 0 ? axis + 1 : axis);
  }
  TORCH_CHECK_VALUE(same && tensor.device() == like.device(), name, ": got shape ", tensor.sizes(),
                    " on ", tensor.device(), ", which does not fit ", like.sizes(), " on ",
                    like.device());
}

inline void check_winners(const at::Tensor& winners, const at::Tensor& like, WinnerType type) {
  check_shape(winners, "winners", like);
  TORCH_CHECK_TYPE(winners.scalar_type() == scalar_type(type), "winners: got ",
                   winners.scalar_type(), ", takes ", scalar_type(type));
}

[[noreturn]] inline void raise(const Fault& fault, const Target& target) {
  if (target.is_masks) {
    TORCH_CHECK_VALUE(
        false, "target: got a mask that holds ", fault.value, ", takes masks of 0 and 1",
        target.has_ignore_index ? c10::str(" (and ignore_index=", target.ignore_index, ")")
                                : std::string());
  }
  TORCH_CHECK_VALUE(false, "target: got a label map that holds ", fault.value,
                    ", takes integers in [0, ", target.label_count, ")",
                    target.has_ignore_index ? c10::str(" and ignore_index=", target.ignore_index)
                                            : std::string(" (or set ignore_index)"));
}

// The target as the kernels are told to read it.
inline Target target_of(const at::Tensor& logits, const at::Tensor& target,
                        const std::optional<at::Tensor>& mask, bool target_is_masks,
                        int64_t first_class, int64_t label_count,
                        std::optional<int64_t> ignore_index, bool validate) {
  check_shape(target, "target", logits, target_is_masks);
  check_storage(target, "target");
  // Class numbers in floating maps compare as doubles, exact up to here.
  constexpr int64_t most_classes = int64_t{1} << 53;
  TORCH_CHECK_VALUE(0 <= first_class && first_class <= most_classes, "first_class: got ",
                    first_class, ", takes 0 to 2**53");
  TORCH_CHECK_VALUE(0 <= label_count && label_count <= most_classes, "label_count: got ",
                    label_count, ", takes 0 to 2**53");
  Target result;
  result.data = target.const_data_ptr();
  result.type = target_type(target);
  result.strides = view_of<const uint8_t>(target, nullptr, target_is_masks);
  result.is_masks = target_is_masks;
  result.first_class = first_class;
  result.label_count = label_count;
  result.has_ignore_index = ignore_index.has_value();
  result.ignore_index = ignore_index.value_or(0);
  result.validate = validate;
  if (mask.has_value()) {
    check_shape(*mask, "mask", logits, false);
    TORCH_CHECK_TYPE(mask->scalar_type() == at::kBool, "mask: got ", mask->scalar_type(),
                     ", takes bool");
    check_storage(*mask, "mask");
    result.has_mask = true;
    result.mask = view_of(*mask, static_cast<const uint8_t*>(mask->const_data_ptr()), false);
  }
  return result;
}

// The call of a forward pass, and the new tensors that it writes.
struct ForwardTensors {
  ForwardCall call;
  at::Tensor penalized;
  at::Tensor winners;
};

// `make_result` makes a new tensor of a type, of the shape and memory format of another.
template <class MakeResult>
ForwardTensors forward_tensors(const at::Tensor& logits, const at::Tensor& target,
                               const std::optional<at::Tensor>& mask, at::IntArrayRef kernel_size,
                               bool target_is_masks, int64_t first_class, int64_t label_count,
                               std::optional<int64_t> ignore_index, bool validate,
                               const MakeResult& make_result) {
  ForwardTensors tensors;
  ForwardCall& call = tensors.call;
  call.geometry = geometry_of(logits, kernel_size);
  call.type = float_type(logits, "logits");
  call.winner_type = winner_type(call.geometry.taps());
  tensors.penalized = make_result(logits, logits.scalar_type());
  tensors.winners = make_result(logits, scalar_type(call.winner_type));
  call.target = target_of(logits, target, mask, target_is_masks, first_class, label_count,
                          ignore_index, validate);
  if (logits.numel() == 0) {
    return tensors;
  }
  call.logits = read(logits, "logits");
  call.penalized = write(tensors.penalized);
  call.winners = write(tensors.winners);
  return tensors;
}

}  // namespace scnp
