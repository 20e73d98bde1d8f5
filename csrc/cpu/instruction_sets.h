// Raising the instruction set for a part of a file, where the compiler can.
#pragma once

#define SCNP_PRAGMA(text) _Pragma(#text)
#if defined(__x86_64__) && defined(__clang__)
#define SCNP_X86_CAPABILITIES 1
#define SCNP_TARGET_BEGIN(set) \
  SCNP_PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define SCNP_TARGET_END _Pragma("clang attribute pop")
#elif defined(__x86_64__) && defined(__GNUC__)
#define SCNP_X86_CAPABILITIES 1
#define SCNP_TARGET_BEGIN(set) _Pragma("GCC push_options") SCNP_PRAGMA(GCC target(set))
#define SCNP_TARGET_END _Pragma("GCC pop_options")
#else
#define SCNP_X86_CAPABILITIES 0
#endif
