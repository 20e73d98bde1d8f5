// Eq. 2 on x86-64 machines with AVX-512.
#define SCNP_TARGET avx512
#include "../scatter_kernels-inl.h"
