// Memory for large results, in huge pages, used again.
//
//     first result    mmap, aligned to 2 MiB, huge pages requested
//     freed           kept for reuse up to `most_kept`. The newest quarter stays resident, since
//                     the next training step asks for it; older blocks get MADV_FREE, which takes
//                     effect only when memory is short
//     next result     the block that was freed last among those that fit: no page faults, and part
//                     of it may still be in the cache
//
// Fresh memory costs page faults, on 4 KiB pages more than the kernels' own work; and translating
// the addresses of small pages slows the writes down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace scnp::cpu {

class RecycledMemory {
 public:
  // Smaller results come from the program's heap, which keeps its pages by itself.
  static constexpr size_t kSmallest = size_t{4} << 20;

  // most_kept: bytes of freed blocks that may be kept. 0: take() gives nothing.
  explicit RecycledMemory(size_t most_kept) : most_kept_(most_kept) {
  }
  RecycledMemory(const RecycledMemory&) = delete;
  RecycledMemory& operator=(const RecycledMemory&) = delete;
  ~RecycledMemory();

  struct Block {
    void* data = nullptr;  // aligned to a huge page; holds anything
    size_t bytes = 0;      // whole huge pages
  };

  // Returns a block of at least so many bytes, or none for small results and on systems without
  // such memory. The caller gives it back. May be called from any thread, as give_back() may.
  Block take(size_t bytes);
  void give_back(Block block);

 private:
  struct Kept {
    Block block;
    bool offered = false;
  };
  Block take_kept(size_t bytes);
  void offer_older();

  const size_t most_kept_;
  // Only ever tried, never waited for: a process that was forked while another thread held it must
  // not hang.
  std::mutex mutex_;
  std::vector<Kept> kept_;  // in the order in which they were freed
  size_t kept_bytes_ = 0;
};

}  // namespace scnp::cpu
