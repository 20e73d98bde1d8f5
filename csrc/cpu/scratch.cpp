#include "scratch.h"

#include <new>

namespace scnp::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

void* Scratch::allocate(size_t bytes) {
  blocks_.reserve(blocks_.size() + 1);
  blocks_.push_back(::operator new(bytes, kAlignment));
  return blocks_.back();
}

Scratch::~Scratch() {
  for (void* block : blocks_) {
    ::operator delete(block, kAlignment);
  }
}

}  // namespace scnp::cpu
