// Rows that do not lie contiguously in memory, read and written: with channels_last, the channels
// of a pixel lie beside each other, and a row of one channel is every second or third element.
#pragma once

namespace scnp::cpu::SCNP_CAPABILITY {

// Calls body with the stride, as a constant where it is one of the common ones: loops over a known
// stride become vector instructions.
template <class Body>
inline void with_stride(int64_t stride, const Body& body) {
  switch (stride) {
    case 1:
      return body(std::integral_constant<int64_t, 1>{});
    case 2:
      return body(std::integral_constant<int64_t, 2>{});
    case 3:
      return body(std::integral_constant<int64_t, 3>{});
    case 4:
      return body(std::integral_constant<int64_t, 4>{});
    default:
      return body(stride);
  }
}

// [n] contiguous elements from every stride-th of `from`.
template <class T>
inline void gather_row(const T* from, int64_t stride, int64_t n, T* to) {
  with_stride(stride, [&](auto step) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < n; ++i) {
      to[i] = from[i * step];
    }
  });
}

// The other way round; a contiguous row of a streamed result goes around the cache.
template <class T>
inline void spread_row(const T* from, int64_t n, int64_t stride, T* to, bool streamed = false) {
  if (streamed && stride == 1) {
    return stream_bytes(from, static_cast<size_t>(n) * sizeof(T), to);
  }
  with_stride(stride, [&](auto step) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < n; ++i) {
      to[i * step] = from[i];
    }
  });
}

// Asks for memory that will be read, or written, soon. A hint: it may lie anywhere, even outside of
// the tensor. Machines foresee a stream by themselves, but only to the end of its 4 KiB page.
template <bool kToWrite = false, class T>
inline void fetch_ahead(const T* from, int64_t n, int64_t stride = 1) {
#if defined(__GNUC__)
  // A function of nothing but hints counts as one without effect, whose calls are dropped.
  __asm__ volatile("");
  constexpr int64_t cache_line = 64;
  const auto begin = reinterpret_cast<uintptr_t>(from) / cache_line * cache_line;
  const auto end = reinterpret_cast<uintptr_t>(from + n * stride);
  for (uintptr_t line = begin; line < end; line += cache_line) {
    __builtin_prefetch(reinterpret_cast<const char*>(line), kToWrite ? 1 : 0, 2);
  }
#else
  (void)from, (void)n, (void)stride;
#endif
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
