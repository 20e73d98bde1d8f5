// The Python module `_C`. Importing it registers the kernels (static initialisers of the bindings);
// all it holds itself is the record of its own build, and which instruction set it chose.
#include <pybind11/pybind11.h>
#if __has_include(<torch/headeronly/version.h>)
#include <torch/headeronly/version.h>
#else  // torch before 2.10
#include <torch/version.h>
#endif

#include "../cpu/dispatch.h"

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

#if defined(_OPENMP)
#define SCNP_PARALLEL "openmp"
#else
#define SCNP_PARALLEL "whatever torch has without openmp"
#endif

// SCNP_SOURCES: the digest of csrc, which tells this binary from one of older or newer sources.
#if !defined(SCNP_SOURCES)
#error "compile with the flags of scnp_kernels/build_description.py"
#endif

// SCNP_WITH_CUDA: the CUDA version of the compiler that made the kernels, as text.
#if defined(SCNP_WITH_CUDA)
#define SCNP_BACKENDS "[\"cpu\", \"cuda\"], \"cuda\": \"" SCNP_TEXT(SCNP_WITH_CUDA) "\""
#else
#define SCNP_BACKENDS "[\"cpu\"]"
#endif

// One line of JSON behind a marker. scnp_kernels/native.py finds it in the file before it loads
// the file, since loading a binary built for another torch can fail with undefined symbols, or
// worse, succeed.
extern "C" const char scnp_kernels_build_record[] =
    "scnp_kernels build record: {"
    "\"torch\": \"" SCNP_TEXT(TORCH_VERSION_MAJOR) "." SCNP_TEXT(TORCH_VERSION_MINOR) "." SCNP_TEXT(
        TORCH_VERSION_PATCH) "\", \"compiler\": \"" SCNP_COMPILER
                             "\", \"parallel\": \"" SCNP_PARALLEL "\", \"sources\": \"" SCNP_TEXT(
                                 SCNP_SOURCES) "\", \"backends\": " SCNP_BACKENDS "}";

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() = "scnp_kernels: native kernels, registered on import.";
  module.def(
      "cpu_capability", [] { return std::string(scnp::cpu::kernels().name); },
      "The instruction set of the CPU kernels in use.");
  module.attr("build_record") = pybind11::str(scnp_kernels_build_record);
}
