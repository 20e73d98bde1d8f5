// The prologue of files whose code works on registers of an instruction set's own, which the
// portable one does without. An editor, which reads a file by itself, reads it for AVX2.
#pragma once

#if !defined(SCNP_TARGET)
#define SCNP_TARGET avx2
#endif
#include "prologue.h"
