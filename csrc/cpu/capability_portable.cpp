// The kernels for every machine of the architecture.
#define SCNP_CAPABILITY portable
#define SCNP_VECTOR_BYTES 16
#include "capability_headers.h"
#include "capability_kernels.h"
