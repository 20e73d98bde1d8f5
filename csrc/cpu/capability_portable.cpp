// The kernels for every machine of the architecture.
#define SCNP_CAPABILITY portable
#include "capability_headers.h"
#include "capability_kernels.h"
