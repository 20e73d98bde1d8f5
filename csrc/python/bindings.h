// What the files share that define Python's functions: the only ones that know pybind11.
#pragma once

#include <pybind11/stl.h>

#include <optional>

#include "tensors.h"

namespace scnp::python {

namespace py = pybind11;

inline Facts facts_of(const py::tuple& tensor) {
  return tensor.ptr();
}
inline Facts facts_of(const std::optional<py::tuple>& tensor) {
  return tensor.has_value() ? tensor->ptr() : nullptr;
}

void define_cuda_operators(py::module_& module);

}  // namespace scnp::python
