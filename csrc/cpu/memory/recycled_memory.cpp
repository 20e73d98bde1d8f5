#include "recycled_memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__linux__) && defined(MADV_HUGEPAGE) && defined(MADV_FREE)
#define SCNP_HAS_RECYCLED_MEMORY 1
#else
#define SCNP_HAS_RECYCLED_MEMORY 0
#endif

namespace scnp::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

using Block = RecycledMemory::Block;

#if SCNP_HAS_RECYCLED_MEMORY

Block map(size_t bytes) {
  void* whole = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (whole == MAP_FAILED) {
    return {};
  }
  // This maps one huge page too much; what lies outside the aligned part is unmapped again.
  const auto begin = reinterpret_cast<uintptr_t>(whole);
  const uintptr_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const size_t before = aligned - begin;
  if (before > 0) {
    munmap(whole, before);
  }
  if (before < kHugePage) {
    munmap(reinterpret_cast<void*>(aligned + bytes), kHugePage - before);
  }
  void* data = reinterpret_cast<void*>(aligned);
  // This is a hint: without huge pages everything works on small ones.
  madvise(data, bytes, MADV_HUGEPAGE);
  return {data, bytes};
}

void unmap(Block block) {
  munmap(block.data, block.bytes);
}

void offer_to_the_system(Block block) {
  madvise(block.data, block.bytes, MADV_FREE);
}

#else

Block map(size_t /*bytes*/) {
  return {};
}
void unmap(Block /*block*/) {
}
void offer_to_the_system(Block /*block*/) {
}

#endif

}  // namespace

RecycledMemory::~RecycledMemory() {
  for (const Kept& kept : kept_) {
    unmap(kept.block);
  }
}

RecycledMemory::Block RecycledMemory::take(size_t bytes) {
  if (bytes < kSmallest || bytes > SIZE_MAX - 2 * kHugePage || most_kept_ == 0) {
    return {};
  }
  const size_t whole_pages = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  const Block kept = take_kept(whole_pages);
  return kept.data != nullptr ? kept : map(whole_pages);
}

RecycledMemory::Block RecycledMemory::take_kept(size_t bytes) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) {
    return {};
  }
  // A block that is much larger stays for results of its size.
  const size_t largest = bytes + bytes / 8;
  for (size_t i = kept_.size(); i-- > 0;) {
    const Block block = kept_[i].block;
    if (bytes <= block.bytes && block.bytes <= largest) {
      kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
      kept_bytes_ -= block.bytes;
      return block;
    }
  }
  return {};
}

void RecycledMemory::give_back(Block block) {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || block.bytes > most_kept_) {
    unmap(block);
    return;
  }
  // The oldest make room; none of them fits what the program computes now.
  size_t leaving = 0;
  while (kept_bytes_ + block.bytes > most_kept_) {
    unmap(kept_[leaving].block);
    kept_bytes_ -= kept_[leaving].block.bytes;
    ++leaving;
  }
  kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(leaving));
  kept_.push_back({block});
  kept_bytes_ += block.bytes;
  offer_older();
}

// Offers all blocks but the newest, which make up a quarter of what may be kept: offering takes
// time, and gains nothing for blocks that are used again at once.
void RecycledMemory::offer_older() {
  size_t bytes = 0;
  for (size_t i = kept_.size(); i-- > 0;) {
    Kept& kept = kept_[i];
    bytes += kept.block.bytes;
    if (bytes > most_kept_ / 4 && !kept.offered) {
      offer_to_the_system(kept.block);
      kept.offered = true;
    }
  }
}

}  // namespace scnp::cpu
