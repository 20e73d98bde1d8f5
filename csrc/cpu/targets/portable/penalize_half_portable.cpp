// Eq. 1 for float16 and bfloat16 logits on every machine of the architecture.
#define SCNP_TARGET portable
#define SCNP_KEY int16_t
#include "../penalize_kernels-inl.h"
