// Rows that do not lie contiguously in memory, read and written: with channels_last, the channels
// of a pixel lie beside each other, and a row of one channel is every second or third element.
//
// Elements are moved, never computed with: what counts is their size, 1, 2, 4 or 8 bytes. The loops
// stand in strided_rows-inl.h and are compiled once for all kernels.
#pragma once

#include "../targets/prologue.h"

#include <cstddef>
#include <cstdint>

#include "../../contract/geometry.h"
#include "scratch.h"
#include "streaming-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Copies every stride-th of `from` to [n] contiguous elements.
void gather_elements(const void* from, int64_t stride, int64_t n, int64_t size, void* to);
template <class T>
inline void gather_row(const T* from, int64_t stride, int64_t n, T* to) {
  gather_elements(from, stride, n, sizeof(T), to);
}

// Copies [n] contiguous elements to every stride-th of `to`. If they are streamed, a contiguous row
// goes around the cache.
void spread_elements(const void* from, int64_t n, int64_t stride, int64_t size, void* to,
                     bool streamed = false);

// How the channels of a tensor's rows lie in memory.
struct ChannelStrides {
  int64_t channel = 0;  // from a channel to the next
  int64_t pixel = 0;    // from a pixel of the row to the next

  // Whether rows of so many channels are written together: nothing else lies in between, and their
  // number is one for which compilers interleave with vector instructions.
  bool interleaves(int64_t channels) const {
    const bool is_common = (2 <= channels && channels <= 4) || channels == 8;
    return channel == 1 && pixel == channels && is_common;
  }
};

template <class T>
ChannelStrides strides_of(const View<T>& view) {
  return {view.channel, view.axis[kInner]};
}

// Rows of several channels, written side by side: where their elements take turns, one channel
// after the other would write every line as often as there are channels.
class RowsOfChannels {
 public:
  // n: the longest row. size: of an element, in bytes.
  RowsOfChannels(Scratch& scratch, int64_t channels, int64_t n, ChannelStrides strides,
                 int64_t size, bool streamed = false)
      : rows_(scratch.array<const void*>(channels)),
        channels_(channels),
        strides_(strides),
        size_(size),
        streamed_(streamed),
        interleaves_(strides.interleaves(channels)),
        line_(interleaves_ && streamed ? scratch.array<char>(channels * n * size) : nullptr) {
  }

  // row: [n], which must stay until the next write.
  void set(int64_t channel, const void* row) {
    rows_[channel] = row;
  }
  // to: where the first channel's row begins.
  void write(int64_t n, void* to) const;

 private:
  const void** rows_;  // [channels]
  int64_t channels_;
  ChannelStrides strides_;
  int64_t size_;
  bool streamed_;
  bool interleaves_;
  char* line_;  // [n * channels], a line that is streamed
};

// Prefetches memory that is read, or written, soon. It may lie anywhere, even outside of the
// tensor. Machines prefetch a stream by themselves, but only to the end of its 4 KiB page.
template <bool kToWrite = false, class T>
inline void fetch_ahead(const T* from, int64_t n, int64_t stride = 1) {
#if defined(__GNUC__)
  // Compilers drop calls of a function that does nothing but prefetch, as if it had no effect.
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

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
