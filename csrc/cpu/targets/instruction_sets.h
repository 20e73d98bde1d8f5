// Raises the instruction set for a part of a file, if the compiler can.
#pragma once

// SCNP_FOREIGN_MACHINE leaves out what is written for x86-64; the rest compiles for any machine.
#if defined(__x86_64__) && !defined(SCNP_FOREIGN_MACHINE)
#define SCNP_X86 1
#else
#define SCNP_X86 0
#endif

#define SCNP_PRAGMA(text) _Pragma(#text)
#if SCNP_X86 && defined(__clang__)
#define SCNP_X86_TARGETS 1
#define SCNP_RAISE_INSTRUCTION_SET(set) \
  SCNP_PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define SCNP_LOWER_INSTRUCTION_SET _Pragma("clang attribute pop")
#elif SCNP_X86 && defined(__GNUC__)
#define SCNP_X86_TARGETS 1
#define SCNP_RAISE_INSTRUCTION_SET(set) _Pragma("GCC push_options") SCNP_PRAGMA(GCC target(set))
#define SCNP_LOWER_INSTRUCTION_SET _Pragma("GCC pop_options")
#else
#define SCNP_X86_TARGETS 0
#endif
