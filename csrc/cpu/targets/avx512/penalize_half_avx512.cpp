// Eq. 1 for float16 and bfloat16 logits on x86-64 machines with AVX-512.
#define SCNP_TARGET avx512
#define SCNP_KEY int16_t
#include "../penalize_kernels-inl.h"
