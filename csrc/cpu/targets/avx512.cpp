// The kernels for x86-64 machines with AVX512.
#define SCNP_CAPABILITY avx512
#define SCNP_VECTOR_BYTES 64
#include "prologue.h"

#if SCNP_X86_CAPABILITIES
SCNP_TARGET_BEGIN("avx2,f16c,bmi,bmi2,lzcnt,avx512f,avx512bw,avx512dq,avx512vl")
#include "kernels-inl.h"
SCNP_TARGET_END
#endif
