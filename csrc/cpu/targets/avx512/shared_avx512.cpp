// What all kernels share, on x86-64 machines with AVX-512.
#define SCNP_TARGET avx512
#include "../shared_kernels-inl.h"
