// Rows of large results, written around the cache: a store into the cache first reads the line that
// it overwrites, and what is larger than the cache has left it before it is read.
#pragma once

#include "../targets/prologue.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Whether a result of so many bytes is written around the cache: if it fills a good part of the
// caches that most machines have. The machine's own cache size is not asked for, since virtual
// machines often report another machine's.
inline bool is_streamed(int64_t bytes) {
  return bytes > int64_t{16} << 20;
}

constexpr size_t kCacheLine = 64;

inline bool begins_with_line(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kCacheLine == 0;
}

#if SCNP_X86
// Copies one cache line to an aligned one.
inline void stream_line(const char* from, char* to) {
#if SCNP_AVX512
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
#else
  for (size_t i = 0; i < kCacheLine; i += sizeof(__m128i)) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
#endif
}
#endif

// Copies [bytes]. finish_streaming() must follow before another thread reads it.
inline void stream_bytes(const void* from, size_t bytes, void* to) {
#if SCNP_X86
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  // Only whole lines are streamed: for a part of one, the line would still have to be read.
  const size_t before =
      (kCacheLine - reinterpret_cast<uintptr_t>(target) % kCacheLine) % kCacheLine;
  if (before + kCacheLine > bytes) {
    std::memcpy(target, source, bytes);
    return;
  }
  std::memcpy(target, source, before);
  size_t done = before;
  for (; done + kCacheLine <= bytes; done += kCacheLine) {
    stream_line(source + done, target + done);
  }
  std::memcpy(target + done, source + done, bytes - done);
#else
  std::memcpy(to, from, bytes);
#endif
}

inline void finish_streaming() {
#if SCNP_X86
  _mm_sfence();
#endif
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
