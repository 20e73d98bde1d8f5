// Eq. 1 for float32 logits on x86-64 machines with AVX-512.
#define SCNP_TARGET avx512
#define SCNP_KEY int32_t
#include "../penalize_kernels-inl.h"
