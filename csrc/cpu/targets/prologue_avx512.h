// The prologue of files that hold code for AVX-512 alone. An editor, which reads a file by itself,
// reads it for that target.
#pragma once

#if !defined(SCNP_TARGET)
#define SCNP_TARGET avx512
#endif
#include "prologue.h"
