// The operators' calls, made from what Python hands over; the same for every device.
#pragma once

#include "tensors.h"

namespace scnp::python {

ForwardCall forward_call(Facts logits, Facts target, Facts mask, Facts gate,
                         const Window& kernel_size, const Labels& labels, Facts penalized,
                         Facts winners);
ScatterCall scatter_call(Facts gradient, Facts winners, const Window& kernel_size,
                         Facts logits_gradient);
GatherCall gather_call(Facts values, Facts winners, const Window& kernel_size, Facts result);

}  // namespace scnp::python
