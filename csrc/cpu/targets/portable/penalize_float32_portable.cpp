// Eq. 1 for float32 logits on every machine of the architecture.
#define SCNP_TARGET portable
#define SCNP_KEY int32_t
#include "../penalize_kernels-inl.h"
