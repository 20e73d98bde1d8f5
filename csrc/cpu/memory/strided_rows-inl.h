// The loops behind strided-inl.h.
#pragma once

#include "../targets/prologue.h"

#include <cstddef>
#include <cstdint>

#include "streaming-inl.h"
#include "strided-inl.h"
#include "with_stride-inl.h"

SCNP_TARGET_BEGIN
namespace scnp::cpu::SCNP_TARGET {

// Calls body with a value of a type of this size. Four bytes are moved as floats, for whose vectors
// x86-64 has the better shuffles without AVX; no bit of them changes.
template <class Body>
void with_element_type(int64_t size, const Body& body) {
  switch (size) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(float{});
    default:
      return body(uint64_t{});
  }
}

template <class Element>
void copy_strided(const Element* from, int64_t from_stride, int64_t n, int64_t to_stride,
                  Element* to) {
  // Copies, here and below: a store to bytes may change anything that lies behind a reference.
  if (to_stride == 1) {
    return with_stride(from_stride, [from, n, to](auto step) {
      SCNP_VECTORIZE
      for (int64_t i = 0; i < n; ++i) {
        to[i] = from[i * step];
      }
    });
  }
  with_stride(to_stride, [from, n, to](auto step) {
    SCNP_VECTORIZE
    for (int64_t i = 0; i < n; ++i) {
      to[i * step] = from[i];
    }
  });
}

void gather_elements(const void* from, int64_t stride, int64_t n, int64_t size, void* to) {
  with_element_type(size, [&]<class Element>(Element /*type*/) {
    copy_strided(static_cast<const Element*>(from), stride, n, 1, static_cast<Element*>(to));
  });
}

void spread_elements(const void* from, int64_t n, int64_t stride, int64_t size, void* to,
                     bool streamed) {
  if (streamed && stride == 1) {
    return stream_bytes(from, static_cast<size_t>(n * size), to);
  }
  with_element_type(size, [&]<class Element>(Element /*type*/) {
    copy_strided(static_cast<const Element*>(from), 1, n, stride, static_cast<Element*>(to));
  });
}

template <int kChannels, class Element>
void interleave(const void* const* all_rows, int64_t n, Element* to) {
  const Element* rows[kChannels];
  for (int c = 0; c < kChannels; ++c) {
    rows[c] = static_cast<const Element*>(all_rows[c]);
  }
  SCNP_VECTORIZE
  for (int64_t i = 0; i < n; ++i) {
    for (int c = 0; c < kChannels; ++c) {
      to[i * kChannels + c] = rows[c][i];
    }
  }
}

void RowsOfChannels::write(int64_t n, void* to) const {
  if (!interleaves_) {
    for (int64_t c = 0; c < channels_; ++c) {
      char* channel = static_cast<char*>(to) + c * strides_.channel * size_;
      spread_elements(rows_[c], n, strides_.pixel, size_, channel, streamed_);
    }
    return;
  }
  with_element_type(size_, [&]<class Element>(Element /*type*/) {
    auto* out = reinterpret_cast<Element*>(line_ != nullptr ? line_ : static_cast<char*>(to));
    switch (channels_) {  // see ChannelStrides::interleaves()
      case 2:
        return interleave<2>(rows_, n, out);
      case 3:
        return interleave<3>(rows_, n, out);
      case 4:
        return interleave<4>(rows_, n, out);
      default:
        return interleave<8>(rows_, n, out);
    }
  });
  if (line_ != nullptr) {
    stream_bytes(line_, static_cast<size_t>(n * channels_ * size_), to);
  }
}

}  // namespace scnp::cpu::SCNP_TARGET
SCNP_TARGET_END
