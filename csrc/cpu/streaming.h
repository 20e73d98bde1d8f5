// Rows of large results, written around the cache: a store into the cache first reads the line that
// it overwrites, and what is larger than the cache has left it before anybody reads it.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace scnp::cpu {

// Whether a result of so many bytes is to be written like that: one that fills a good part of the
// caches that most machines have. What a system says of its own is often another machine's, where
// machines are virtual.
inline bool is_streamed(int64_t bytes) {
  return bytes > int64_t{16} << 20;
}

// Copies [bytes]. finish_streaming() must follow before another thread reads it.
inline void stream_bytes(const void* from, size_t bytes, void* to) {
#if defined(__x86_64__)
  constexpr size_t line = 64;
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  // Whole lines alone: a piece of one would still have to be read.
  const size_t before = (line - reinterpret_cast<uintptr_t>(target) % line) % line;
  if (before + line > bytes) {
    std::memcpy(target, source, bytes);
    return;
  }
  std::memcpy(target, source, before);
  size_t done = before;
  for (; done + line <= bytes; done += line) {
    for (size_t i = done; i < done + line; i += sizeof(__m128i)) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(target + i),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
    }
  }
  std::memcpy(target + done, source + done, bytes - done);
#else
  std::memcpy(to, from, bytes);
#endif
}

inline void finish_streaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace scnp::cpu
