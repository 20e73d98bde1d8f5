// Eq. 2 on x86-64 machines with AVX2.
#define SCNP_TARGET avx2
#include "../scatter_kernels-inl.h"
