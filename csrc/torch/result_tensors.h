// New tensors for results.
#pragma once

#include <ATen/core/Tensor.h>

namespace scnp::cpu {

// Of the same shape and memory format, with nothing in it yet. Large ones lie in recycled memory.
at::Tensor result_like(const at::Tensor& tensor, at::ScalarType type);

}  // namespace scnp::cpu
