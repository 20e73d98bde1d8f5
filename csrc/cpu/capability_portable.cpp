// The kernels for every machine of the architecture.
#define SCNP_CAPABILITY portable
#define SCNP_AVX512_BLOCKS 0
#include "capability_headers.h"
#include "capability_kernels.h"
