// Tensors as Python hands them over, tuples of numbers: read, checked, and seen as the kernels see
// them. What is wrong with one is told with its name.
//
// Python's own interface does here; pybind11's headers, which take seconds to compile, are left to
// the files that define functions with it.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "../contract/calls.h"

namespace scnp::python {

// A tensor's tuple, borrowed; null where there is no such tensor.
using Facts = PyObject*;

// Becomes Python's TypeError.
struct TypeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Stands for the exception that Python has set.
struct PythonError {};

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

// Becomes Python's ValueError.
template <class... Parts>
void check_value(bool good, const Parts&... parts) {
  if (!good) {
    throw std::invalid_argument(text(parts...));
  }
}

template <class... Parts>
void check_type(bool good, const Parts&... parts) {
  if (!good) {
    throw TypeError(text(parts...));
  }
}

// In the order of TargetType, whose numbers Python uses for every tensor.
struct Dtype {
  const char* name;
  uint64_t bytes;
};
constexpr Dtype kDtypes[] = {
    {"bool", 1},     {"uint8", 1},   {"int8", 1},    {"uint16", 2}, {"int16", 2},
    {"uint32", 4},   {"int32", 4},   {"uint64", 8},  {"int64", 8},  {"float16", 2},
    {"bfloat16", 2}, {"float32", 4}, {"float64", 8},
};

constexpr int kMostAxes = 64;  // torch has no more

// (address, dtype, sizes, strides, storage offset, bytes of the storage); counts are of elements.
struct Tensor {
  Tensor(const char* name, Facts facts);

  const Dtype& dtype() const {
    return kDtypes[static_cast<size_t>(type)];
  }
  bool is_empty() const;
  std::string shape() const;

  const char* name;
  char* data = nullptr;
  TargetType type;
  int axes = 0;
  int64_t size[kMostAxes];
  int64_t stride[kMostAxes];
  int64_t offset = 0;
  uint64_t storage_bytes = 0;
};

// What an operator is told of its target.
struct Labels {
  bool are_masks;
  int64_t first_class;
  int64_t count;
  std::optional<int64_t> ignore_index;
  bool validate;
};

using Window = std::vector<int64_t>;

Geometry geometry_of(const Tensor& logits, const Window& kernel_size);
FloatType float_type(const Tensor& tensor);

// The storage holds every element: one may have been given back or cut behind the tensor's back, as
// sharding frameworks do, and reading such a tensor would end the process.
void check_storage(const Tensor& tensor);

// Views of what is read and what is written, with its storage checked.
View<const char> read(const Tensor& tensor);
View<const char> read_winners(const Tensor& winners, const Tensor& like, WinnerType type);
View<char> write(const Tensor& result, const Tensor& like);
View<char> write_winners(const Tensor& winners, const Tensor& like, WinnerType type);
Target target_of(const Tensor& logits, const Tensor& target, Facts mask, const Labels& labels);
Gate gate_of(const Tensor& logits, Facts gate);

}  // namespace scnp::python
