// Memory for large results, handed to Python.
#pragma once

#include <pybind11/pybind11.h>

namespace scnp::python {

// A DLPack capsule over recycled memory for a new tensor with nothing in it yet: its sizes, its
// strides (without overlaps or gaps) and the number of its dtype. None where there is no such
// memory, and for small results. The memory goes back with the last tensor that uses it.
pybind11::object recycled_result(const pybind11::tuple& sizes, const pybind11::tuple& strides,
                                 int dtype);

}  // namespace scnp::python
