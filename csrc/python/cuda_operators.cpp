// The CUDA kernels. Launches go to the stream that Python names, on the device that Python has made
// the current one; nothing here waits, allocates or changes the device.
#include "../cuda/kernels.h"
#include "bindings.h"
#include "operators.h"

namespace scnp::python {
namespace {

using cuda::Launch;

cudaStream_t stream_of(uintptr_t address) {
  return reinterpret_cast<cudaStream_t>(address);
}

void check_launch(const Launch& launch) {
  if (launch.error == cudaSuccess) {
    return;
  }
  cudaGetLastError();  // forget it, or the next to ask would take it for an error of their own
  throw std::runtime_error(
      text("scnp_kernels: the CUDA kernel ", launch.kernel,
           " could not be launched: ", cudaGetErrorString(launch.error),
           launch.error == cudaErrorNoKernelImageForDevice
               ? " (the kernels were compiled for other GPUs: reinstall scnp_kernels with "
                 "TORCH_CUDA_ARCH_LIST set to this one's compute capability)"
               : ""));
}

// `first_fault`: with `validate`, the address of one int64 on the device, which holds -1; it is
// lowered to the position of the first value that is not permitted.
void forward(const py::tuple& logits, const py::tuple& target, const std::optional<py::tuple>& mask,
             const std::optional<py::tuple>& gate, const Window& kernel_size, bool target_is_masks,
             int64_t first_class, int64_t label_count, std::optional<int64_t> ignore_index,
             bool validate, const py::tuple& penalized, const py::tuple& winners,
             uintptr_t first_fault, uintptr_t stream) {
  const ForwardCall call =
      forward_call(facts_of(logits), facts_of(target), facts_of(mask), facts_of(gate), kernel_size,
                   {target_is_masks, first_class, label_count, ignore_index, validate},
                   facts_of(penalized), facts_of(winners));
  const py::gil_scoped_release release;
  if (call.geometry.logits() == 0) {
    return;
  }
  if (validate) {
    check_launch(
        cuda::find_fault(call, reinterpret_cast<uint64_t*>(first_fault), stream_of(stream)));
  }
  check_launch(cuda::forward(call, stream_of(stream)));
}

void scatter(const py::tuple& gradient, const py::tuple& winners, const Window& kernel_size,
             const py::tuple& logits_gradient, uintptr_t stream) {
  const ScatterCall call =
      scatter_call(facts_of(gradient), facts_of(winners), kernel_size, facts_of(logits_gradient));
  const py::gil_scoped_release release;
  if (call.geometry.logits() > 0) {
    check_launch(cuda::scatter(call, stream_of(stream)));
  }
}

void gather(const py::tuple& values, const py::tuple& winners, const Window& kernel_size,
            const py::tuple& result, uintptr_t stream) {
  const GatherCall call =
      gather_call(facts_of(values), facts_of(winners), kernel_size, facts_of(result));
  const py::gil_scoped_release release;
  if (call.geometry.logits() > 0) {
    check_launch(cuda::gather(call, stream_of(stream)));
  }
}

// Of the CUDA that the driver knows, 12040 for 12.4; 0 where there is no driver.
int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

}  // namespace

void define_cuda_operators(py::module_& module) {
  module.def("cuda_driver_version", &driver_version);
  module.def("cuda_forward", &forward);
  module.def("cuda_scatter", &scatter);
  module.def("cuda_gather", &gather);
}

}  // namespace scnp::python
