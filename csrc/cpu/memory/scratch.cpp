#include "scratch.h"

#include <new>

namespace scnp::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

void* Scratch::allocate(size_t bytes) {
  // Room for the pointer comes first, so that no block is lost if there is none.
  if (blocks_.size() == blocks_.capacity()) {
    blocks_.reserve(2 * blocks_.size() + 8);
  }
  blocks_.push_back(::operator new(bytes, kAlignment));
  return blocks_.back();
}

Scratch::~Scratch() {
  for (void* block : blocks_) {
    ::operator delete(block, kAlignment);
  }
}

}  // namespace scnp::cpu
