// The prologue of the files that hold code for AVX-512 alone: what an editor reads by itself is
// read for that target.
#pragma once

#if !defined(SCNP_TARGET)
#define SCNP_TARGET avx512
#endif
#include "prologue.h"
