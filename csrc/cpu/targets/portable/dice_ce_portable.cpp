// The fused loss on every machine of the architecture.
#define SCNP_TARGET portable
#include "../dice_ce_kernels-inl.h"
