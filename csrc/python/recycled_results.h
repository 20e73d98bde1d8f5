// Memory for large results, handed to Python.
#pragma once

#include "tensors.h"

namespace scnp::python {

// A DLPack capsule over recycled memory for a new tensor with nothing in it yet: its sizes, its
// strides (without overlaps or gaps) and the number of its dtype. None where there is no such
// memory, and for small results. The memory goes back with the last tensor that uses it. The
// caller owns what it gets.
PyObject* recycled_result(PyObject* sizes, PyObject* strides, int dtype);

}  // namespace scnp::python
