// The kernels of one capability: compiled into the namespace SCNP_CAPABILITY,
// with the instruction set of the file that includes this.
#include "../dice_ce/backward-inl.h"
#include "../dice_ce/forward-inl.h"
#include "../penalize/forward-inl.h"
#include "../scatter/scatter-inl.h"

#define SCNP_TEXT_OF(x) #x
#define SCNP_TEXT(x) SCNP_TEXT_OF(x)

namespace scnp::cpu::SCNP_CAPABILITY {

Kernels kernels() {
  return {SCNP_TEXT(SCNP_CAPABILITY), &forward, &scatter, &dice_ce_forward, &dice_ce_backward};
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
