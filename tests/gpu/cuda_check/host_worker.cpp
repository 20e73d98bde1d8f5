// Runs the CUDA kernels on the host for tests that are written in Python: takes calls on standard
// input and answers on standard output, one after another, until the input ends.
//
//   call      Header, then the bytes of every input tensor
//   answer    int64 error code, then, if it is 0, the bytes of every output tensor
//
// host_worker.py is the other side.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_runtime.h"
#include "kernels.h"

namespace {

using namespace scnp;

enum Operation : int64_t { kForward, kScatter, kGather, kFindFault };
constexpr int kInputs = 4;
constexpr int kTensors = 6;

// All of int64, in the order that host_worker.py packs them.
struct TensorHeader {
  int64_t bytes;         // from the first element to the end of the last; 0: there is none
  int64_t element_size;  // in bytes
  int64_t stride[5];     // batch, channel, outer, middle, inner; in elements
};
struct Header {
  int64_t operation;
  int64_t seed;           // of the order in which threads run
  int64_t shared_memory;  // limits of a launch
  int64_t blocks;
  int64_t batch_distance;  // where not 0: batches are laid this many elements apart
  int64_t batch, channels, size[3], window[3];
  int64_t type, winner_type, target_type;
  int64_t is_masks, first_class, label_count, has_ignore_index, ignore_index, has_mask, has_gate;
  // forward: logits, target, mask, gate -> penalized, winners
  // scatter and gather: values, winners -> result;  find_fault: logits (absent), target, mask
  TensorHeader tensor[kTensors];
};

bool read_all(void* to, size_t bytes) {
  return bytes == 0 || std::fread(to, 1, bytes, stdin) == bytes;
}
void write_all(const void* from, size_t bytes) {
  if (bytes != 0 && std::fwrite(from, 1, bytes, stdout) != bytes) {
    host_cuda::fail("the answer could not be written");
  }
}

// A tensor in memory of exactly its size, so that an address sanitizer sees every step beyond it;
// or, to reach offsets beyond 32 bits, with its batches far apart in memory that is not there until
// it is touched.
class Tensor {
 public:
  Tensor(const TensorHeader& header, int64_t batch, int64_t distance)
      : header_(header), parts_(distance == 0 ? 1 : batch) {
    if (distance == 0) {
      owned_ = std::make_unique<char[]>(header.bytes);
      data_ = owned_.get();
      part_bytes_ = header.bytes;
      return;
    }
    part_bytes_ = header.bytes - (batch - 1) * header.stride[0] * header.element_size;
    header_.stride[0] = distance;
    step_ = distance * header.element_size;
    mapped_ = (batch - 1) * step_ + part_bytes_;
    void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      host_cuda::fail("no address space for a large tensor");
    }
    data_ = static_cast<char*>(memory);
  }
  ~Tensor() {
    if (mapped_ != 0) {
      munmap(data_, mapped_);
    }
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  bool receive() {
    return for_each_part([](char* part, size_t bytes) { return read_all(part, bytes); });
  }
  // What nobody writes stays the largest integer, or NaN.
  void poison() {
    for_each_part([&](char* part, size_t bytes) {
      std::memset(part, 0xff, bytes);
      return true;
    });
  }
  void send() {
    for_each_part([](const char* part, size_t bytes) {
      write_all(part, bytes);
      return true;
    });
  }
  template <class T>
  View<T> view() {
    const int64_t* stride = header_.stride;
    return {reinterpret_cast<T*>(data_), stride[0], stride[1], {stride[2], stride[3], stride[4]}};
  }
  char* data() {
    return data_;
  }

 private:
  template <class Body>
  bool for_each_part(const Body& body) {
    // Batches that lie apart are cut out of one run of bytes: they must not overlap there.
    for (int64_t part = 0; part < parts_; ++part) {
      if (!body(data_ + part * step_, part_bytes_)) {
        return false;
      }
    }
    return true;
  }

  TensorHeader header_;
  int64_t parts_;
  int64_t part_bytes_ = 0;
  int64_t step_ = 0;
  int64_t mapped_ = 0;
  std::unique_ptr<char[]> owned_;
  char* data_ = nullptr;
};

Geometry geometry_of(const Header& header) {
  Geometry geometry;
  geometry.batch = header.batch;
  geometry.channels = header.channels;
  for (int axis = 0; axis < kAxes; ++axis) {
    geometry.size[axis] = header.size[axis];
    geometry.window[axis] = header.window[axis];
  }
  return geometry;
}

using Tensors = std::vector<std::unique_ptr<Tensor>>;

ForwardCall forward_call(const Header& header, const Tensors& tensors) {
  ForwardCall call;
  call.geometry = geometry_of(header);
  call.type = static_cast<FloatType>(header.type);
  call.winner_type = static_cast<WinnerType>(header.winner_type);
  call.logits = tensors[0]->view<const char>();
  call.target.data = tensors[1]->data();
  call.target.type = static_cast<TargetType>(header.target_type);
  call.target.strides = tensors[1]->view<const uint8_t>();
  call.target.is_masks = header.is_masks != 0;
  call.target.first_class = header.first_class;
  call.target.label_count = header.label_count;
  call.target.has_ignore_index = header.has_ignore_index != 0;
  call.target.ignore_index = header.ignore_index;
  call.target.has_mask = header.has_mask != 0;
  call.target.mask = tensors[2]->view<const uint8_t>();
  call.gate.exists = header.has_gate != 0;
  call.gate.view = tensors[3]->view<const uint8_t>();
  call.penalized = tensors[kInputs]->view<char>();
  call.winners = tensors[kInputs + 1]->view<char>();
  return call;
}

template <class Call>
Call linear_call(const Header& header) {
  Call call;
  call.geometry = geometry_of(header);
  call.type = static_cast<FloatType>(header.type);
  call.winner_type = static_cast<WinnerType>(header.winner_type);
  return call;
}

cuda::Launch run(const Header& header, const Tensors& tensors, uint64_t& fault) {
  const cuda::Limits limits{header.shared_memory, header.blocks};
  host_cuda::device().seed(static_cast<uint32_t>(header.seed));
  switch (header.operation) {
    case kForward:
      return cuda::forward(forward_call(header, tensors), nullptr, limits);
    case kScatter: {
      auto call = linear_call<ScatterCall>(header);
      call.gradient = tensors[0]->view<const char>();
      call.winners = tensors[1]->view<const char>();
      call.logits_gradient = tensors[kInputs]->view<char>();
      return cuda::scatter(call, nullptr, limits);
    }
    case kGather: {
      auto call = linear_call<GatherCall>(header);
      call.values = tensors[0]->view<const char>();
      call.winners = tensors[1]->view<const char>();
      call.result = tensors[kInputs]->view<char>();
      return cuda::gather(call, nullptr, limits);
    }
    case kFindFault:
      return cuda::find_fault(forward_call(header, tensors), &fault, nullptr, limits);
    default:
      host_cuda::fail("an unknown operation was called");
  }
}

// False when the input has ended.
bool answer_one() {
  Header header;
  if (!read_all(&header, sizeof(header))) {
    return false;
  }
  Tensors tensors;
  for (int n = 0; n < kTensors; ++n) {
    tensors.push_back(
        std::make_unique<Tensor>(header.tensor[n], header.batch, header.batch_distance));
    const bool is_output = n >= kInputs;
    if (is_output) {
      tensors[n]->poison();
    } else if (!tensors[n]->receive()) {
      return false;
    }
  }
  uint64_t fault = cuda::kNoFault;
  const cuda::Launch launch = run(header, tensors, fault);
  const int64_t error = launch.error;
  write_all(&error, sizeof(error));
  if (error == cudaSuccess) {
    tensors[kInputs]->send();
    tensors[kInputs + 1]->send();
    if (header.operation == kFindFault) {
      write_all(&fault, sizeof(fault));
    }
  }
  std::fflush(stdout);
  return true;
}

}  // namespace

int main() {
  while (answer_one()) {
  }
}
