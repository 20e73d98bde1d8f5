// Eq. 1 for float64 logits on x86-64 machines with AVX2.
#define SCNP_TARGET avx2
#define SCNP_KEY int64_t
#include "../penalize_kernels-inl.h"
