// The fused loss on x86-64 machines with AVX-512.
#define SCNP_TARGET avx512
#include "../dice_ce_kernels-inl.h"
