// The kernels for every machine of the architecture.
#define SCNP_CAPABILITY portable
#define SCNP_VECTOR_BYTES 16
#include "prologue.h"

// After the prologue, and so in a block of its own.
#include "kernels-inl.h"
