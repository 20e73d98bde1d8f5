// The fused loss on x86-64 machines with AVX2.
#define SCNP_TARGET avx2
#include "../dice_ce_kernels-inl.h"
