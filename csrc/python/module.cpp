// The Python module `_C`: the kernels, called with the addresses, sizes and strides of tensors. It
// knows nothing of torch, and so serves every version of it.
#include <exception>
#include <utility>

#include "../contract/calls.h"
#include "../contract/geometry.h"
#include "../cpu/dispatch.h"
#include "bindings.h"
#include "recycled_results.h"

#define SCNP_TEXT_OF(x) #x
#define SCNP_TEXT(x) SCNP_TEXT_OF(x)

#if defined(__clang__)
#define SCNP_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define SCNP_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define SCNP_COMPILER "msvc " SCNP_TEXT(_MSC_FULL_VER)
#else
#define SCNP_COMPILER "unknown"
#endif

namespace {

namespace py = pybind11;

void translate(std::exception_ptr exception) {
  try {
    std::rethrow_exception(std::move(exception));
  } catch (const scnp::python::TypeError& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const scnp::python::PythonError&) {
    // Python has its exception already.
  }
}

py::dict build_record() {
  py::dict record;
  record["compiler"] = SCNP_COMPILER;
#if defined(_OPENMP)
  record["parallel"] = "openmp";
#else
  record["parallel"] = "one thread: compiled without openmp";
#endif
#if SCNP_X86_TARGETS
  record["targets"] = py::make_tuple("portable", "avx2", "avx512");
#else
  record["targets"] = py::make_tuple("portable");
#endif
  // SCNP_WITH_CUDA: the CUDA version of the compiler that made the kernels, as text.
#if defined(SCNP_WITH_CUDA)
  record["cuda"] = SCNP_TEXT(SCNP_WITH_CUDA);
#else
  record["cuda"] = py::none();
#endif
  return record;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  py::register_local_exception_translator(&translate);
  module.doc() = "scnp_kernels: the compiled kernels. Import it after torch.";
  module.attr("build_record") = build_record();
  // What binds Python too; the limits of taps are those of winners in uint8 and int16.
  module.attr("most_classes") = scnp::kMostClasses;
  module.attr("most_taps") = py::make_tuple(scnp::kMostTapsOfUInt8, scnp::kMostTapsOfInt16);
  module.attr("dice_ce_statistics") = static_cast<int>(scnp::kDiceCEStatistics);
  module.def(
      "cpu_capability", [] { return std::string(scnp::cpu::kernels().name); },
      "The instruction set of the CPU kernels in use.");
  module.def("recycled_result", [](const py::tuple& sizes, const py::tuple& strides, int dtype) {
    return py::reinterpret_steal<py::object>(
        scnp::python::recycled_result(sizes.ptr(), strides.ptr(), dtype));
  });
  scnp::python::define_cpu_operators(module);
#if defined(SCNP_WITH_CUDA)
  scnp::python::define_cuda_operators(module);
#endif
}
