// The operators' calls, made from what Python hands over; the same for every device.
#pragma once

#include "tensors.h"

namespace scnp::python {

ForwardCall forward_call(const py::tuple& logits, const py::tuple& target,
                         const std::optional<py::tuple>& mask, const std::optional<py::tuple>& gate,
                         const Window& kernel_size, const Labels& labels,
                         const py::tuple& penalized, const py::tuple& winners);
ScatterCall scatter_call(const py::tuple& gradient, const py::tuple& winners,
                         const Window& kernel_size, const py::tuple& logits_gradient);
GatherCall gather_call(const py::tuple& values, const py::tuple& winners, const Window& kernel_size,
                       const py::tuple& result);

void define_cpu_operators(py::module_& module);
void define_cuda_operators(py::module_& module);

}  // namespace scnp::python
