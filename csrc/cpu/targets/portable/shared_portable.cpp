// What all kernels share, on every machine of the architecture.
#define SCNP_TARGET portable
#include "../shared_kernels-inl.h"
