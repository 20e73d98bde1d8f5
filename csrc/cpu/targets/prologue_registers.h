// The prologue of files whose code works on registers of the target's own, which the portable
// target does without. An editor, which reads a file by itself, reads it for AVX2.
#pragma once

#if !defined(SCNP_TARGET)
#define SCNP_TARGET avx2
#endif
#include "prologue.h"
