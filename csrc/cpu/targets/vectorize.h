// Before a loop whose iterations are independent, which the compiler cannot see by itself.
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

// Before a function for what is rare, so that it is compiled once and not wherever it may be
// needed.
#if defined(__GNUC__)
#define SCNP_NOT_INLINED __attribute__((noinline))
#elif defined(_MSC_VER)
#define SCNP_NOT_INLINED __declspec(noinline)
#else
#define SCNP_NOT_INLINED
#endif

// Before a function whose arguments and result shall stay in registers.
#if defined(__GNUC__)
#define SCNP_ALWAYS_INLINE __attribute__((always_inline)) inline
#elif defined(_MSC_VER)
#define SCNP_ALWAYS_INLINE __forceinline
#else
#define SCNP_ALWAYS_INLINE inline
#endif
