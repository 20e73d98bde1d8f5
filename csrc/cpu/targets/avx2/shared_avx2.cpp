// What all kernels share, on x86-64 machines with AVX2.
#define SCNP_TARGET avx2
#include "../shared_kernels-inl.h"
