// Working memory of one tile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace scnp::cpu {

// Arrays that live as long as the tile's work, aligned for any vector register and uninitialised.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();

  template <class T>
  T* array(int64_t count) {
    return static_cast<T*>(allocate(static_cast<size_t>(count) * sizeof(T)));
  }

 private:
  void* allocate(size_t bytes);

  std::vector<void*> blocks_;
};

}  // namespace scnp::cpu
