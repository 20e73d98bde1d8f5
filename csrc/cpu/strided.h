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

// Asks for memory that will be read soon. A hint: it may lie anywhere, even outside of the tensor.
template <class T>
inline void fetch_ahead(const T* from, int64_t n) {
#if defined(__GNUC__)
  constexpr int64_t cache_line = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += cache_line) {
    __builtin_prefetch(from + i, 0, 2);
  }
#else
  (void)from, (void)n;
#endif
}

}  // namespace scnp::cpu::SCNP_CAPABILITY
