#include "tensors.h"

namespace scnp::python {
namespace {

int64_t integer(PyObject* number) {
  const int64_t value = PyLong_AsLongLong(number);
  if (value == -1 && PyErr_Occurred() != nullptr) {
    throw PythonError{};
  }
  return value;
}

// The image axis where the spatial axis `spatial` (of `dimensions`) stands.
int axis_of(int spatial, int dimensions) {
  return dimensions == 2 && spatial == 0 ? kOuter : kAxes - dimensions + spatial;
}

template <class T>
View<T> view_of(const Tensor& tensor, T* data, bool has_channels = true) {
  const int first_spatial = has_channels ? 2 : 1;
  const int dimensions = tensor.axes - first_spatial;
  View<T> view;
  view.data = data;
  view.batch = tensor.stride[0];
  view.channel = has_channels ? tensor.stride[1] : 0;
  for (int spatial = 0; spatial < dimensions; ++spatial) {
    view.axis[axis_of(spatial, dimensions)] = tensor.stride[first_spatial + spatial];
  }
  return view;
}

void check_shape(const Tensor& tensor, const Tensor& like, bool has_channels = true) {
  bool same = tensor.axes == like.axes - (has_channels ? 0 : 1);
  for (int axis = 0; same && axis < tensor.axes; ++axis) {
    same = tensor.size[axis] == like.size[!has_channels && axis > 0 ? axis + 1 : axis];
  }
  if (!same) {
    check_value(false, tensor.name, ": got shape ", tensor.shape(), ", which does not fit ",
                like.name, " of shape ", like.shape());
  }
}

void check_winners(const Tensor& winners, WinnerType type) {
  const TargetType wanted = type == WinnerType::kUInt8   ? TargetType::kUInt8
                            : type == WinnerType::kInt16 ? TargetType::kInt16
                                                         : TargetType::kInt32;
  check_type(winners.type == wanted, winners.name, ": got ", winners.dtype().name, ", takes ",
             kDtypes[static_cast<size_t>(wanted)].name);
}

// A view of one bool per pixel, the same for all channels.
View<const uint8_t> read_pixels(const Tensor& pixels, const Tensor& logits) {
  check_shape(pixels, logits, false);
  check_type(pixels.type == TargetType::kBool, pixels.name, ": got ", pixels.dtype().name,
             ", takes bool");
  check_storage(pixels);
  return view_of(pixels, reinterpret_cast<const uint8_t*>(pixels.data), false);
}

}  // namespace

void check_storage(const Tensor& tensor) {
  if (tensor.is_empty()) {
    return;
  }
  int64_t last = tensor.offset;
  for (int axis = 0; axis < tensor.axes; ++axis) {
    last += (tensor.size[axis] - 1) * tensor.stride[axis];
  }
  const uint64_t needed = static_cast<uint64_t>(last + 1) * tensor.dtype().bytes;
  if (needed > tensor.storage_bytes) {
    check_value(false, tensor.name, ": got a tensor of shape ", tensor.shape(),
                " whose storage holds ", tensor.storage_bytes,
                " bytes, takes one that holds its elements (", needed, " bytes)");
  }
}

Tensor::Tensor(const char* name, Facts facts) : name(name) {
  if (!PyTuple_Check(facts) || PyTuple_GET_SIZE(facts) != 6 ||
      !PyTuple_Check(PyTuple_GET_ITEM(facts, 2)) || !PyTuple_Check(PyTuple_GET_ITEM(facts, 3))) {
    throw TypeError("takes (address, dtype, sizes, strides, offset, bytes)");
  }
  PyObject* const sizes = PyTuple_GET_ITEM(facts, 2);
  PyObject* const strides = PyTuple_GET_ITEM(facts, 3);
  data = static_cast<char*>(PyLong_AsVoidPtr(PyTuple_GET_ITEM(facts, 0)));
  const int64_t number = integer(PyTuple_GET_ITEM(facts, 1));
  axes = static_cast<int>(PyTuple_GET_SIZE(sizes));
  if (number < 0 || number >= static_cast<int64_t>(std::size(kDtypes)) || axes > kMostAxes ||
      axes != PyTuple_GET_SIZE(strides)) {
    throw TypeError("takes a dtype by its number, and as many strides as sizes");
  }
  type = static_cast<TargetType>(number);
  for (int axis = 0; axis < axes; ++axis) {
    size[axis] = integer(PyTuple_GET_ITEM(sizes, axis));
    stride[axis] = integer(PyTuple_GET_ITEM(strides, axis));
  }
  offset = integer(PyTuple_GET_ITEM(facts, 4));
  storage_bytes = static_cast<uint64_t>(integer(PyTuple_GET_ITEM(facts, 5)));
}

bool Tensor::is_empty() const {
  for (int axis = 0; axis < axes; ++axis) {
    if (size[axis] == 0) {
      return true;
    }
  }
  return false;
}

std::string Tensor::shape() const {
  std::string result = "[";
  for (int axis = 0; axis < axes; ++axis) {
    result += (axis == 0 ? "" : ", ") + std::to_string(size[axis]);
  }
  return result + "]";
}

Geometry geometry_of(const Tensor& logits, const Window& kernel_size) {
  const int dimensions = logits.axes - 2;
  check_value(1 <= dimensions && dimensions <= kAxes, logits.name, ": got ", logits.axes,
              " axes, takes [B, C, *spatial] with 1 to 3 spatial axes");
  check_value(static_cast<int>(kernel_size.size()) == dimensions, "kernel_size: got ",
              kernel_size.size(), " values, takes one per spatial axis");
  Geometry geometry;
  int64_t taps = 1;
  geometry.batch = logits.size[0];
  geometry.channels = logits.size[1];
  for (int spatial = 0; spatial < dimensions; ++spatial) {
    const int axis = axis_of(spatial, dimensions);
    const int64_t side = kernel_size[spatial];
    geometry.size[axis] = logits.size[2 + spatial];
    geometry.window[axis] = side;
    check_value(side > 0 && side % 2 == 1, "kernel_size: got ", side,
                ", takes odd positive integers");
    // Divided, because a product could overflow.
    check_value(side <= kMostTaps / taps, "kernel_size: got a side of ", side,
                ", takes windows of at most ", kMostTaps, " pixels");
    taps *= side;
  }
  return geometry;
}

FloatType float_type(const Tensor& tensor) {
  switch (tensor.type) {
    case TargetType::kFloat16:
      return FloatType::kFloat16;
    case TargetType::kBFloat16:
      return FloatType::kBFloat16;
    case TargetType::kFloat32:
      return FloatType::kFloat32;
    case TargetType::kFloat64:
      return FloatType::kFloat64;
    default:
      throw TypeError(text(tensor.name, ": got ", tensor.dtype().name,
                           ", takes float16, bfloat16, float32 or float64"));
  }
}

View<const char> read(const Tensor& tensor) {
  check_storage(tensor);
  return view_of<const char>(tensor, tensor.data);
}

View<const char> read_winners(const Tensor& winners, const Tensor& like, WinnerType type) {
  check_shape(winners, like);
  check_winners(winners, type);
  return read(winners);
}

View<char> write(const Tensor& result, const Tensor& like) {
  check_shape(result, like);
  check_type(result.type == like.type, result.name, ": got ", result.dtype().name, ", takes ",
             like.dtype().name);
  check_storage(result);
  return view_of(result, result.data);
}

View<char> write_winners(const Tensor& winners, const Tensor& like, WinnerType type) {
  check_shape(winners, like);
  check_winners(winners, type);
  check_storage(winners);
  return view_of(winners, winners.data);
}

Target target_of(const Tensor& logits, const Tensor& target, Facts mask, const Labels& labels) {
  check_shape(target, logits, labels.are_masks);
  check_storage(target);
  // Class numbers in floating maps compare as doubles, exact up to here.
  constexpr int64_t most_classes = int64_t{1} << 53;
  check_value(0 <= labels.first_class && labels.first_class <= most_classes, "first_class: got ",
              labels.first_class, ", takes 0 to 2**53");
  check_value(0 <= labels.count && labels.count <= most_classes, "label_count: got ", labels.count,
              ", takes 0 to 2**53");
  Target result;
  result.data = target.data;
  result.type = target.type;
  result.strides = view_of<const uint8_t>(target, nullptr, labels.are_masks);
  result.is_masks = labels.are_masks;
  result.first_class = labels.first_class;
  result.label_count = labels.count;
  result.has_ignore_index = labels.ignore_index.has_value();
  result.ignore_index = labels.ignore_index.value_or(0);
  result.validate = labels.validate;
  if (mask != nullptr) {
    result.has_mask = true;
    result.mask = read_pixels({"mask", mask}, logits);
  }
  return result;
}

Gate gate_of(const Tensor& logits, Facts gate) {
  Gate result;
  if (gate != nullptr) {
    result.exists = true;
    result.view = read_pixels({"gate", gate}, logits);
  }
  return result;
}

}  // namespace scnp::python
