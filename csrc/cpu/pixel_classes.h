// Reads one row of the target, in whatever dtype and layout it comes, into pixel classes.
#pragma once

#include <cstdint>

#include "../contract.h"

namespace scnp::cpu {

// classes[i] = class of the pixel at (batch, outer, middle, inner + i) for `channel`, i < count.
// With target.validate, values that are not permitted are reported to `fault`.
void read_pixel_classes(const Target& target, const Geometry& geometry, int64_t batch,
                        int64_t channel, int64_t outer, int64_t middle, int64_t inner,
                        int64_t count, PixelClass* classes, Fault& fault);

}  // namespace scnp::cpu
