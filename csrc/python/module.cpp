// The Python module `_C`: the kernels, called with the addresses, sizes and strides of tensors. It
// knows nothing of torch, and so serves every version of it.
//
// The CPU kernels run on the threads of the OpenMP that is loaded: torch's, where the module is
// imported after torch. What pybind11 defines takes seconds to compile in every file, so they stand
// here; the CUDA kernels, which few builds have, stand in cuda_operators.cpp.
#if defined(_OPENMP)
#include <omp.h>
#endif

#include <algorithm>
#include <cmath>
#include <exception>
#include <mutex>
#include <utility>

#include "../contract/calls.h"
#include "../contract/geometry.h"
#include "../cpu/dispatch.h"
#include "../cpu/kernels.h"
#include "bindings.h"
#include "operators.h"
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

namespace scnp::python {
namespace {

using cpu::Workers;
using Body = std::function<void(int64_t, int64_t)>;

#if defined(_OPENMP)
// As torch cuts its own loops, on as many threads: the runtime ends and makes threads where the
// number changes from one region to the next.
void run_in_parallel(int threads, int64_t items, const Body& body) {
  std::exception_ptr failure;
  std::mutex failing;  // a named critical section would be a symbol of the whole program
#pragma omp parallel num_threads(threads)
  {
    const int64_t team = omp_get_num_threads();
    const int64_t share = (items + team - 1) / team;
    const int64_t begin = omp_get_thread_num() * share;
    if (begin < items) {
      try {
        body(begin, std::min(items, begin + share));
      } catch (...) {
        const std::lock_guard lock(failing);
        failure = std::current_exception();
      }
    }
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
}
#endif

Workers workers(int threads) {
  return {threads, [threads](int64_t items, const Body& body) {
#if defined(_OPENMP)
            if (threads > 1 && items > 1 && omp_in_parallel() == 0) {
              run_in_parallel(threads, items, body);
              return;
            }
#endif
            if (items > 0) {
              body(0, items);
            }
          }};
}

// Whether every label that had to be permitted was.
bool forward(const py::tuple& logits, const py::tuple& target, const std::optional<py::tuple>& mask,
             const std::optional<py::tuple>& gate, const Window& kernel_size, bool target_is_masks,
             int64_t first_class, int64_t label_count, std::optional<int64_t> ignore_index,
             bool validate, const py::tuple& penalized, const py::tuple& winners, int threads) {
  const ForwardCall call =
      forward_call(facts_of(logits), facts_of(target), facts_of(mask), facts_of(gate), kernel_size,
                   {target_is_masks, first_class, label_count, ignore_index, validate},
                   facts_of(penalized), facts_of(winners));
  const py::gil_scoped_release release;
  return call.geometry.logits() == 0 || !cpu::forward(call, workers(threads)).found;
}

void scatter(const py::tuple& gradient, const py::tuple& winners, const Window& kernel_size,
             const py::tuple& logits_gradient, int threads) {
  const ScatterCall call =
      scatter_call(facts_of(gradient), facts_of(winners), kernel_size, facts_of(logits_gradient));
  const py::gil_scoped_release release;
  if (call.geometry.logits() > 0) {
    cpu::scatter(call, workers(threads));
  }
}

void gather(const py::tuple& values, const py::tuple& winners, const Window& kernel_size,
            const py::tuple& result, int threads) {
  const GatherCall call =
      gather_call(facts_of(values), facts_of(winners), kernel_size, facts_of(result));
  const py::gil_scoped_release release;
  if (call.geometry.logits() > 0) {
    cpu::gather(call, workers(threads));
  }
}

DiceCECall dice_ce_call(const Tensor& logits, const py::tuple& target,
                        const std::optional<py::tuple>& mask, const Window& kernel_size,
                        const Labels& labels, bool softmax, bool of_penalized, bool of_plain,
                        double gamma) {
  DiceCECall call;
  call.geometry = geometry_of(logits, kernel_size);
  check_value(call.geometry.channels <= kMostClasses, "logits: got ", call.geometry.channels,
              " classes, takes at most ", kMostClasses, " here");
  call.type = float_type(logits);
  call.winner_type = winner_type_for(call.geometry.taps());
  call.logits = read(logits);
  call.target = target_of(logits, {"target", facts_of(target)}, facts_of(mask), labels);
  call.softmax = softmax;
  call.of_penalized = of_penalized;
  call.of_plain = of_plain;
  check_value(gamma >= 0 && std::isfinite(gamma), "gamma: got ", gamma,
              ", takes a finite number that is not negative");
  call.gamma = gamma;
  return call;
}

// Contiguous, float64: [2, kDiceCEStatistics, B, C].
double* statistics_of(const Tensor& statistics, const Geometry& geometry) {
  const int64_t sizes[] = {2, kDiceCEStatistics, geometry.batch, geometry.channels};
  bool good = statistics.axes == 4 && statistics.type == TargetType::kFloat64;
  int64_t stride = 1;
  for (int axis = 3; good && axis >= 0; --axis) {
    good =
        statistics.size[axis] == sizes[axis] &&
        (statistics.size[axis] == 1 || statistics.stride[axis] == stride || statistics.is_empty());
    stride *= sizes[axis];
  }
  if (!good) {
    check_value(false, statistics.name, ": got ", statistics.dtype().name, " of shape ",
                statistics.shape(), ", takes float64, contiguous, [2, 6, B, C]");
  }
  check_storage(statistics);
  return reinterpret_cast<double*>(statistics.data);
}

bool dice_ce_forward(const py::tuple& logits_facts, const py::tuple& target,
                     const std::optional<py::tuple>& mask, const std::optional<py::tuple>& gate,
                     const Window& kernel_size, bool target_is_masks, int64_t first_class,
                     int64_t label_count, std::optional<int64_t> ignore_index, bool validate,
                     bool softmax, bool of_penalized, bool of_plain, double gamma,
                     const py::tuple& statistics, const py::tuple& winners, int threads) {
  const Tensor logits("logits", facts_of(logits_facts));
  DiceCEForwardCall call;
  static_cast<DiceCECall&>(call) =
      dice_ce_call(logits, target, mask, kernel_size,
                   {target_is_masks, first_class, label_count, ignore_index, validate}, softmax,
                   of_penalized, of_plain, gamma);
  if (of_penalized) {
    call.winners = write_winners({"winners", facts_of(winners)}, logits, call.winner_type);
  }
  call.gate = gate_of(logits, facts_of(gate));
  call.statistics = statistics_of({"statistics", facts_of(statistics)}, call.geometry);
  const py::gil_scoped_release release;
  return logits.is_empty() || !cpu::dice_ce_forward(call, workers(threads)).found;
}

void dice_ce_backward(const py::tuple& statistics_gradient, const py::tuple& winners,
                      const py::tuple& logits_facts, const py::tuple& target,
                      const std::optional<py::tuple>& mask, const Window& kernel_size,
                      bool target_is_masks, int64_t first_class, int64_t label_count,
                      std::optional<int64_t> ignore_index, bool validate, bool softmax,
                      bool of_penalized, bool of_plain, double gamma,
                      const py::tuple& logits_gradient, int threads) {
  const Tensor logits("logits", facts_of(logits_facts));
  DiceCEBackwardCall call;
  static_cast<DiceCECall&>(call) =
      dice_ce_call(logits, target, mask, kernel_size,
                   {target_is_masks, first_class, label_count, ignore_index, validate}, softmax,
                   of_penalized, of_plain, gamma);
  call.statistics_gradient =
      statistics_of({"statistics_gradient", facts_of(statistics_gradient)}, call.geometry);
  if (of_penalized) {
    call.winners = read_winners({"winners", facts_of(winners)}, logits, call.winner_type);
  }
  call.logits_gradient = write({"logits_gradient", facts_of(logits_gradient)}, logits);
  const py::gil_scoped_release release;
  if (!logits.is_empty()) {
    cpu::dice_ce_backward(call, workers(threads));
  }
}

void define_cpu_operators(py::module_& module) {
  module.def("forward", &forward);
  module.def("scatter", &scatter);
  module.def("gather", &gather);
  module.def("dice_ce_forward", &dice_ce_forward);
  module.def("dice_ce_backward", &dice_ce_backward);
}

}  // namespace
}  // namespace scnp::python

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
