// What every file that ends in -inl.h begins with: the instruction set that it is compiled for.
//
// Such a file is compiled once for each (portable, avx2, avx512; those that begin with
// prologue_registers.h, for the last two), every time into a namespace of its own, so that no
// function of one instruction set is ever taken for that of another:
//
//     #include "../targets/prologue.h"
//
//     #include ...                            whatever it uses, in any order
//
//     SCNP_TARGET_BEGIN                       from here on its instructions are allowed
//     namespace scnp::cpu::SCNP_TARGET {
//     }  // namespace scnp::cpu::SCNP_TARGET
//     SCNP_TARGET_END
//
// Includes stand in front of SCNP_TARGET_BEGIN: what is shared with the rest of the program has to
// run on every machine.
#pragma once

#include "instruction_sets.h"
#include "vectorize.h"

// The unit that is compiled defines SCNP_TARGET. An editor reads a header alone, and sees it as it
// is compiled for every machine.
#if !defined(SCNP_TARGET)
#define SCNP_TARGET portable
#endif

#define SCNP_JOIN_EXPANDED(a, b) a##b
#define SCNP_JOIN(a, b) SCNP_JOIN_EXPANDED(a, b)
#define SCNP_TEXT_EXPANDED(x) #x
#define SCNP_TEXT(x) SCNP_TEXT_EXPANDED(x)

#define SCNP_NUMBER_OF_portable 1
#define SCNP_NUMBER_OF_avx2 2
#define SCNP_NUMBER_OF_avx512 3
#define SCNP_TARGET_NUMBER SCNP_JOIN(SCNP_NUMBER_OF_, SCNP_TARGET)

// SCNP_HAS_TARGET: whether this compiler and machine can compile for it at all.
// SCNP_AVX2, SCNP_AVX512: whether code written for that instruction set is compiled.
// SCNP_REGISTERS: whether it has the registers of ../vector/registers-inl.h.
#if SCNP_TARGET_NUMBER == SCNP_NUMBER_OF_portable
#define SCNP_HAS_TARGET 1
#define SCNP_AVX2 0
#define SCNP_AVX512 0
#define SCNP_VECTOR_BYTES 16
#define SCNP_TARGET_BEGIN
#define SCNP_TARGET_END
#elif SCNP_TARGET_NUMBER == SCNP_NUMBER_OF_avx2
#define SCNP_HAS_TARGET SCNP_X86_TARGETS
#define SCNP_AVX2 SCNP_X86_TARGETS
#define SCNP_AVX512 0
#define SCNP_VECTOR_BYTES 32
#define SCNP_TARGET_BEGIN SCNP_RAISE_INSTRUCTION_SET("avx2,f16c,bmi,bmi2,lzcnt")
#define SCNP_TARGET_END SCNP_LOWER_INSTRUCTION_SET
#elif SCNP_TARGET_NUMBER == SCNP_NUMBER_OF_avx512
#define SCNP_HAS_TARGET SCNP_X86_TARGETS
#define SCNP_AVX2 0
#define SCNP_AVX512 SCNP_X86_TARGETS
#define SCNP_VECTOR_BYTES 64
#define SCNP_TARGET_BEGIN \
  SCNP_RAISE_INSTRUCTION_SET("avx2,f16c,bmi,bmi2,lzcnt,avx512f,avx512bw,avx512dq,avx512vl")
#define SCNP_TARGET_END SCNP_LOWER_INSTRUCTION_SET
#else
#error "SCNP_TARGET: takes portable, avx2 or avx512"
#endif

#define SCNP_REGISTERS (SCNP_AVX2 || SCNP_AVX512)

#if SCNP_REGISTERS
// GCC 12's header initialises what _mm512_undefined_*() returns with itself, and then warns of it
// wherever one of its functions is used, thousands of times.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif SCNP_X86
#include <emmintrin.h>  // compiles in a fifth of the time that <immintrin.h> takes
#endif
