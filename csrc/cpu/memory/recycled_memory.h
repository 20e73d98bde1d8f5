// Memory for large results, in huge pages, used again.
//
//     first result    mmap, aligned to 2 MiB, huge pages asked for
//     freed           kept, up to a limit; beyond the newest quarter of it, which the next step of
//     a
//                     training wants again, offered to the system: it may take the pages, but only
//                     does so when memory runs short
//     next result     the block that was freed last, among those that fit: no page faults, and
//                     what the cache still holds of it is of use
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
    void* data = nullptr;  // aligned to a huge page; nothing is known of the contents
    size_t bytes = 0;      // whole huge pages
  };

  // At least so many bytes; none where the system has no such memory, or for small results. To be
  // given back. From any thread.
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
  // Only ever tried: a process that was forked while another thread held it goes on without.
  std::mutex mutex_;
  std::vector<Kept> kept_;  // freed last at the end
  size_t kept_bytes_ = 0;
};

}  // namespace scnp::cpu
