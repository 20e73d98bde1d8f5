// Eq. 2 on every machine of the architecture.
#define SCNP_TARGET portable
#include "../scatter_kernels-inl.h"
