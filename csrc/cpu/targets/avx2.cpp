// The kernels for x86-64 machines with AVX2.
#define SCNP_CAPABILITY avx2
#define SCNP_VECTOR_BYTES 32
#include "prologue.h"

#if SCNP_X86_CAPABILITIES
SCNP_TARGET_BEGIN("avx2,f16c,bmi,bmi2,lzcnt")
#include "kernels-inl.h"
SCNP_TARGET_END
#endif
