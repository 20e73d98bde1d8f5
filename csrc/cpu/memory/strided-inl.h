// Rows that do not lie contiguously in memory, read and written: with channels_last, the channels
// of a pixel lie beside each other, and a row of one channel is every second or third element.
#pragma once

#include "streaming-inl.h"

namespace scnp::cpu::SCNP_CAPABILITY {

// Calls body with the stride, as a constant where it is one of the common ones: loops over a known
// stride become vector instructions.
template <class Body>
SCNP_ALWAYS_INLINE void with_stride(int64_t stride, const Body& body) {
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
  // Copies, here and below: a store to bytes may change anything that lies behind a reference.
  with_stride(stride, [from, n, to](auto step) {
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
  with_stride(stride, [from, n, to](auto step) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < n; ++i) {
      to[i * step] = from[i];
    }
  });
}

// Calls body with the number of channels as a constant, if it is one that compilers interleave
// with vector instructions; returns whether it is.
template <class Body>
inline bool with_interleaved_channels(int64_t channels, const Body& body) {
  switch (channels) {
    case 2:
      return body(std::integral_constant<int, 2>{}), true;
    case 3:
      return body(std::integral_constant<int, 3>{}), true;
    case 4:
      return body(std::integral_constant<int, 4>{}), true;
    case 8:
      return body(std::integral_constant<int, 8>{}), true;
    default:
      return false;
  }
}

// How the channels of a tensor's rows lie in memory.
struct ChannelStrides {
  int64_t channel = 0;  // from a channel to the next
  int64_t pixel = 0;    // from a pixel of the row to the next

  // Whether rows of so many channels are written together: if nothing else lies in between.
  bool interleaves(int64_t channels) const {
    return channel == 1 && pixel == channels &&
           with_interleaved_channels(channels, [](auto /*constant*/) {});
  }
};

template <class T>
ChannelStrides strides_of(const View<T>& view) {
  return {view.channel, view.axis[kInner]};
}

// Rows of several channels, written side by side: where their elements take turns, one channel
// after the other would write every line as often as there are channels.
template <class T>
class RowsOfChannels {
 public:
  // n: the longest row.
  RowsOfChannels(Scratch& scratch, int64_t channels, int64_t n, ChannelStrides strides,
                 bool streamed = false)
      : rows_(scratch.array<const T*>(channels)),
        channels_(channels),
        strides_(strides),
        streamed_(streamed),
        interleaves_(strides.interleaves(channels)),
        line_(interleaves_ && streamed ? scratch.array<T>(channels * n) : nullptr) {
  }

  // row: [n], until the next write.
  void set(int64_t channel, const T* row) {
    rows_[channel] = row;
  }
  // to: the first channel's.
  void write(int64_t n, T* to) const {
    if (!interleaves_) {
      for (int64_t c = 0; c < channels_; ++c) {
        spread_row(rows_[c], n, strides_.pixel, to + c * strides_.channel, streamed_);
      }
      return;
    }
    with_interleaved_channels(
        channels_, [&](auto channels) { interleave<channels>(n, line_ != nullptr ? line_ : to); });
    if (line_ != nullptr) {
      stream_bytes(line_, static_cast<size_t>(n * channels_) * sizeof(T), to);
    }
  }

 private:
  template <int kChannels>
  void interleave(int64_t n, T* to) const {
    std::array<const T*, kChannels> rows;
    std::copy_n(rows_, kChannels, rows.begin());
    SCNP_VECTORIZE
    for (int64_t i = 0; i < n; ++i) {
      for (int c = 0; c < kChannels; ++c) {
        to[i * kChannels + c] = rows[c][i];
      }
    }
  }

  const T** rows_;  // [channels]
  int64_t channels_;
  ChannelStrides strides_;
  bool streamed_;
  bool interleaves_;
  T* line_;  // [n * channels], what is streamed
};

// Asks for memory that will be read, or written, soon. A hint: it may lie anywhere, even outside of
// the tensor. Machines foresee a stream by themselves, but only to the end of its 4 KiB page.
template <bool kToWrite = false, class T>
inline void fetch_ahead(const T* from, int64_t n, int64_t stride = 1) {
#if defined(__GNUC__)
  // A function of nothing but hints counts as one without effect, whose calls are dropped.
  __asm__ volatile("");
  constexpr int64_t cache_line = 64;
  constexpr int64_t size = sizeof(T);
  if (stride * size > cache_line) {
    for (int64_t i = 0; i < n; ++i) {
      __builtin_prefetch(from + i * stride, kToWrite ? 1 : 0, 2);
    }
    return;
  }
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
