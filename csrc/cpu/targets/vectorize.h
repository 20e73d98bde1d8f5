// Stands before a loop whose iterations are independent, which the compiler cannot see by itself.
#pragma once

#if defined(__clang__)
#define SCNP_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define SCNP_VECTORIZE _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define SCNP_VECTORIZE __pragma(loop(ivdep))
#else
#define SCNP_VECTORIZE
#endif

// Stands before a loop over the registers of a block, whose iterations become one piece of code:
// the arrays that it indexes then stay in registers.
#if defined(__clang__)
#define SCNP_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define SCNP_UNROLL _Pragma("GCC unroll 16")
#else
#define SCNP_UNROLL
#endif

// Stands before a function whose arguments and result must stay in registers.
#if defined(__GNUC__)
#define SCNP_ALWAYS_INLINE __attribute__((always_inline)) inline
#elif defined(_MSC_VER)
#define SCNP_ALWAYS_INLINE __forceinline
#else
#define SCNP_ALWAYS_INLINE inline
#endif
