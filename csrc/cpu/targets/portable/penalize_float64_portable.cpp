// Eq. 1 for float64 logits on every machine of the architecture.
#define SCNP_TARGET portable
#define SCNP_KEY int64_t
#include "../penalize_kernels-inl.h"
