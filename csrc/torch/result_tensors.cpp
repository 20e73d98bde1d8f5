#include "result_tensors.h"

#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "../cpu/memory/recycled_memory.h"

namespace scnp::cpu {
namespace {

constexpr const char* kVariable = "SCNP_KEEP_MEBIBYTES";
constexpr size_t kMostKept = size_t{512} << 20;

// What the variable asks for, in bytes.
size_t most_kept() {
  const char* text = std::getenv(kVariable);
  if (text == nullptr || *text == '\0') {
    return kMostKept;
  }
  size_t mebibytes = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, mebibytes);
  TORCH_CHECK_VALUE(error == std::errc() && stop == end && mebibytes <= (SIZE_MAX >> 20), kVariable,
                    ": got '", text, "', takes a number of MiB (0 keeps nothing)");
  return mebibytes << 20;
}

RecycledMemory& recycled_memory() {
  // Never destroyed: tensors may outlive everything else when a program ends.
  static auto* const memory = new RecycledMemory(most_kept());
  return *memory;
}

// As a tensor's storage sees it. Tells torch's profiler, like the allocator that it stands for.
class ResultAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const RecycledMemory::Block block = recycled_memory().take(bytes);
    if (block.data == nullptr) {
      return c10::GetCPUAllocator()->allocate(bytes);
    }
    c10::profiledCPUMemoryReporter().New(block.data, bytes);
    return {block.data, new RecycledMemory::Block(block), &give_back, c10::DeviceType::CPU};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  static void give_back(void* context) {
    const auto* block = static_cast<RecycledMemory::Block*>(context);
    c10::profiledCPUMemoryReporter().Delete(block->data);
    recycled_memory().give_back(*block);
    delete block;
  }
};

ResultAllocator& result_allocator() {
  static auto* const allocator = new ResultAllocator;
  return *allocator;
}

}  // namespace

at::Tensor result_like(const at::Tensor& tensor, at::ScalarType type) {
  const at::TensorOptions options = tensor.options().dtype(type);
  const auto elements = static_cast<size_t>(tensor.numel());
  if (elements < RecycledMemory::kSmallest / c10::elementSize(type)) {
    return at::empty_like(tensor, options);
  }
  // Without values: torch decides how the result lies in memory.
  const at::Tensor layout = at::empty_like(tensor, options.device(at::kMeta));
  at::Tensor result =
      at::detail::empty_strided_generic(layout.sizes(), layout.strides(), &result_allocator(),
                                        c10::DispatchKeySet(c10::DispatchKey::CPU), type);
  // As torch does with all fresh memory, where that is asked for.
  if (at::globalContext().deterministicAlgorithms() &&
      at::globalContext().deterministicFillUninitializedMemory()) {
    at::native::fill_empty_deterministic_(result);
  }
  return result;
}

}  // namespace scnp::cpu
