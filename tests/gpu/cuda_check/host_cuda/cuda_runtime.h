// Runs CUDA C++ kernels on the host, so that sanitizers can watch them.
//
//   A block's threads are fibers of one host thread, each with a stack of its own. In every round
//   each fiber runs, in shuffled order, up to its next barrier or to its end:
//
//       round 1    t2 ----|  t0 ----|  t1 ----|        all at the same __syncthreads(), or abort
//       round 2    t1 ------|  t2 ------|  t0 ------|
//
//   So a thread sees nothing of what others write after its last barrier, or all of it, as chance
//   has it: a missing barrier changes results. Blocks run one after another, each on shared memory
//   of exactly the size that was asked for, filled with noise.
//
// Not here: warp intrinsics, textures, static shared memory, blocks at the same time.
#pragma once

#include <sanitizer/common_interface_defs.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <source_location>
#include <vector>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define SCNP_SHARED_MEMORY(name) unsigned char* name = host_cuda::device().shared_memory()

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned columns = 1, unsigned rows = 1, unsigned planes = 1)
      : x(columns), y(rows), z(planes) {
  }
};

namespace host_cuda {

constexpr size_t kMostThreads = 1024;
constexpr size_t kMostSharedMemory = 48 * 1024;

[[noreturn]] inline void fail(const char* message) {
  std::fprintf(stderr, "host_cuda: %s\n", message);
  std::fflush(stderr);
  std::abort();
}

// One thread of a block.
class Fiber {
 public:
  enum class State { kReady, kAtBarrier, kFinished };

  State state = State::kReady;
  std::source_location barrier;
  dim3 index;

  // Makes the fiber ready to run `body`.
  void prepare(dim3 at, const std::function<void()>* body) {
    if (stack_ == nullptr) {
      stack_ = std::make_unique<char[]>(kStackBytes);
    }
    index = at;
    state = State::kReady;
    body_ = body;
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&context_, reinterpret_cast<void (*)()>(&Fiber::enter), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
  }

  // From the scheduler to the fiber, until its next barrier or its end.
  void run() {
    void* scheduler_fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, stack_.get(), kStackBytes);
    swapcontext(&scheduler_, &context_);
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
  }

  // From the fiber back to the scheduler.
  void leave(State why) {
    state = why;
    const bool for_good = why == State::kFinished;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, scheduler_stack_,
                                   scheduler_stack_bytes_);
    swapcontext(&context_, &scheduler_);
    __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_stack_, &scheduler_stack_bytes_);
  }

 private:
  static constexpr size_t kStackBytes = 64 * 1024;

  static void enter(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<Fiber*>(uintptr_t{high} << 32 | low);
    __sanitizer_finish_switch_fiber(nullptr, &self->scheduler_stack_,
                                    &self->scheduler_stack_bytes_);
    (*self->body_)();
    self->leave(State::kFinished);
  }

  ucontext_t context_{};
  ucontext_t scheduler_{};
  std::unique_ptr<char[]> stack_;
  void* fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  const std::function<void()>* body_ = nullptr;
};

class Device {
 public:
  dim3 grid, block, block_index;

  void seed(uint32_t value) {
    random_.seed(value);
  }
  Fiber& current() {
    return *current_;
  }
  unsigned char* shared_memory() {
    return shared_memory_.get();
  }

  void barrier(const std::source_location& where) {
    current_->barrier = where;
    current_->leave(Fiber::State::kAtBarrier);
  }

  void run_grid(dim3 grid_size, dim3 block_size, size_t shared_bytes,
                const std::function<void()>& body) {
    grid = grid_size;
    block = block_size;
    const size_t threads = size_t{block.x} * block.y * block.z;
    while (fibers_.size() < threads) {
      fibers_.push_back(std::make_unique<Fiber>());
    }
    for (block_index.z = 0; block_index.z < grid.z; ++block_index.z) {
      for (block_index.y = 0; block_index.y < grid.y; ++block_index.y) {
        for (block_index.x = 0; block_index.x < grid.x; ++block_index.x) {
          make_shared_memory(shared_bytes);
          run_block(threads, body);
        }
      }
    }
  }

 private:
  void make_shared_memory(size_t bytes) {
    shared_memory_.reset(new unsigned char[bytes]);
    const auto noise = static_cast<unsigned char>(random_());
    std::fill_n(shared_memory_.get(), bytes, noise);
  }

  void run_block(size_t threads, const std::function<void()>& body) {
    order_.clear();
    for (unsigned n = 0; n < threads; ++n) {
      fibers_[n]->prepare({n % block.x, n / block.x % block.y, n / (block.x * block.y)}, &body);
      order_.push_back(fibers_[n].get());
    }
    while (order_.front()->state != Fiber::State::kFinished) {
      std::shuffle(order_.begin(), order_.end(), random_);
      for (Fiber* fiber : order_) {
        current_ = fiber;
        fiber->run();
      }
      check_that_they_stay_together();
    }
  }

  void check_that_they_stay_together() const {
    const Fiber& first = *order_.front();
    for (const Fiber* fiber : order_) {
      if (fiber->state != first.state) {
        fail("some threads of a block wait at a barrier that others never reach");
      }
      if (fiber->state == Fiber::State::kAtBarrier &&
          (fiber->barrier.line() != first.barrier.line() ||
           fiber->barrier.file_name() != first.barrier.file_name())) {
        fail("threads of a block wait at different barriers");
      }
    }
  }

  std::mt19937 random_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> order_;
  std::unique_ptr<unsigned char[]> shared_memory_;
  Fiber* current_ = nullptr;
};

inline Device& device() {
  static Device the_only_one;
  return the_only_one;
}

}  // namespace host_cuda

#define threadIdx (host_cuda::device().current().index)
#define blockIdx (host_cuda::device().block_index)
#define blockDim (host_cuda::device().block)
#define gridDim (host_cuda::device().grid)

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  host_cuda::device().barrier(where);
}

template <class T>
T atomicMin(T* address, T value) {
  const T before = *address;
  *address = std::min(before, value);
  return before;
}

// As CUDA's own, for kernels that take one structure by value. What a device would refuse is
// refused here.
template <class Arguments>
cudaError_t cudaLaunchKernel(void (*kernel)(Arguments), dim3 grid, dim3 block, void** arguments,
                             size_t shared_memory, cudaStream_t /*stream*/) {
  const size_t threads = size_t{block.x} * block.y * block.z;
  const bool grid_fits = 0 < grid.x && grid.x <= 0x7fffffff && 0 < grid.y && grid.y <= 65535 &&
                         0 < grid.z && grid.z <= 65535;
  if (!grid_fits || threads == 0 || threads > host_cuda::kMostThreads) {
    return cudaErrorInvalidConfiguration;
  }
  if (shared_memory > host_cuda::kMostSharedMemory) {
    return cudaErrorInvalidValue;
  }
  const auto* argument = static_cast<const Arguments*>(arguments[0]);
  host_cuda::device().run_grid(grid, block, shared_memory, [=] { kernel(*argument); });
  return cudaSuccess;
}
