#include "recycled_results.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <system_error>

#include "../cpu/memory/recycled_memory.h"

namespace scnp::python {
namespace {

using cpu::RecycledMemory;

// As DLPack lays them out: what its first versions say, which every torch reads.
struct DlpackTensor {
  void* data;
  struct {
    int32_t type = 1;  // the CPU
    int32_t id = 0;
  } device;
  int32_t axes;
  struct {
    uint8_t kind;
    uint8_t bits;
    uint16_t lanes = 1;
  } dtype;
  int64_t* sizes;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DlpackManagedTensor {
  DlpackTensor tensor;
  void* context;
  void (*deleter)(DlpackManagedTensor*);
};
constexpr const char* kUnused = "dltensor";  // a capsule's name, until a tensor takes it over

uint8_t kind_of(TargetType type) {
  switch (type) {
    case TargetType::kFloat16:
    case TargetType::kFloat32:
    case TargetType::kFloat64:
      return 2;
    case TargetType::kBFloat16:
      return 4;
    case TargetType::kUInt8:
      return 1;
    case TargetType::kInt16:
    case TargetType::kInt32:
      return 0;
    default:
      throw TypeError("results are floats, or winners");
  }
}

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
  check_value(error == std::errc() && stop == end && mebibytes <= (SIZE_MAX >> 20), kVariable,
              ": got '", text, "', takes a number of MiB (0 keeps nothing)");
  return mebibytes << 20;
}

RecycledMemory& recycled_memory() {
  // Never destroyed: tensors may outlive everything else when a program ends.
  static auto* const memory = new RecycledMemory(most_kept());
  return *memory;
}

struct DropReference {
  void operator()(PyObject* object) const {
    Py_DECREF(object);
  }
};
using Owned = std::unique_ptr<PyObject, DropReference>;

struct Result {
  DlpackManagedTensor managed;
  RecycledMemory::Block block;
  int64_t sizes[kMostAxes];
  int64_t strides[kMostAxes];
};

// In whichever thread lets the tensor go, with the GIL or without.
void give_back(DlpackManagedTensor* managed) {
  auto* result = static_cast<Result*>(managed->context);
  recycled_memory().give_back(result->block);
  delete result;
}

void give_back_unused(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, kUnused) != 0) {
    give_back(static_cast<DlpackManagedTensor*>(PyCapsule_GetPointer(capsule, kUnused)));
  }
}

}  // namespace

PyObject* recycled_result(PyObject* sizes, PyObject* strides, int dtype) {
  auto result = std::make_unique<Result>();
  const Owned facts(Py_BuildValue("(iiOOii)", 0, dtype, sizes, strides, 0, 0));
  if (!facts) {
    throw PythonError{};
  }
  const Tensor like("result", facts.get());
  uint64_t bytes = like.dtype().bytes;
  for (int axis = 0; axis < like.axes; ++axis) {
    result->sizes[axis] = like.size[axis];
    result->strides[axis] = like.stride[axis];
    bytes *= static_cast<uint64_t>(like.size[axis]);
  }
  result->managed.tensor = {
      .data = nullptr,
      .device = {},
      .axes = like.axes,
      .dtype = {kind_of(like.type), static_cast<uint8_t>(like.dtype().bytes * 8)},
      .sizes = result->sizes,
      .strides = result->strides,
      .byte_offset = 0};
  result->block = recycled_memory().take(bytes);
  if (result->block.data == nullptr) {
    Py_RETURN_NONE;
  }
  result->managed.tensor.data = result->block.data;
  result->managed.context = result.get();
  result->managed.deleter = &give_back;
  PyObject* capsule = PyCapsule_New(&result->managed, kUnused, &give_back_unused);
  if (capsule == nullptr) {
    recycled_memory().give_back(result->block);
    throw PythonError{};
  }
  result.release();  // the capsule's now
  return capsule;
}

}  // namespace scnp::python
