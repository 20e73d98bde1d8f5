#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace scnp::cpu {

namespace {

Kernels best_kernels(const std::string& wanted) {
#if SCNP_X86_TARGETS
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("bmi2");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_avx512 && (wanted.empty() || wanted == "avx512")) {
    return avx512::kernels();
  }
  if (has_avx2 && (wanted.empty() || wanted == "avx2")) {
    return avx2::kernels();
  }
#endif
  if (wanted.empty() || wanted == "portable") {
    return portable::kernels();
  }
  throw std::invalid_argument("SCNP_CPU_CAPABILITY: got '" + wanted +
                              "', takes portable, avx2 or avx512, as far as this machine and this "
                              "build have them");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels chosen = [] {
    const char* wanted = std::getenv("SCNP_CPU_CAPABILITY");
    return best_kernels(wanted == nullptr ? "" : wanted);
  }();
  return chosen;
}

Fault forward(const ForwardCall& call, const Workers& workers) {
  return kernels().of_type(call.type).forward(call, workers);
}

void scatter(const ScatterCall& call, const Workers& workers) {
  kernels().of_type(call.type).scatter(call, workers);
}

Fault dice_ce_forward(const DiceCEForwardCall& call, const Workers& workers) {
  return kernels().of_type(call.type).dice_ce_forward(call, workers);
}

void dice_ce_backward(const DiceCEBackwardCall& call, const Workers& workers) {
  kernels().of_type(call.type).dice_ce_backward(call, workers);
}

}  // namespace scnp::cpu
