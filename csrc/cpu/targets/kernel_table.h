// The table through which the program calls the functions of one instruction set.
#pragma once

#include "../../contract/calls.h"
#include "../kernels.h"
#include "instruction_sets.h"

namespace scnp::cpu {

// The kernels for logits of one type; float16 and bfloat16 share theirs.
struct TypedKernels {
  Fault (*forward)(const ForwardCall& call, const Workers& workers);
  void (*scatter)(const ScatterCall& call, const Workers& workers);
  Fault (*dice_ce_forward)(const DiceCEForwardCall& call, const Workers& workers);
  void (*dice_ce_backward)(const DiceCEBackwardCall& call, const Workers& workers);
};

struct Kernels {
  const char* name;  // of the instruction set
  TypedKernels half;
  TypedKernels float32;
  TypedKernels float64;

  const TypedKernels& of_type(FloatType type) const {
    switch (type) {
      case FloatType::kFloat16:
      case FloatType::kBFloat16:
        return half;
      case FloatType::kFloat32:
        return float32;
      case FloatType::kFloat64:
        break;
    }
    return float64;
  }
};

namespace portable {
Kernels kernels();
}
#if SCNP_X86_TARGETS
namespace avx2 {
Kernels kernels();
}
namespace avx512 {
Kernels kernels();
}
#endif

}  // namespace scnp::cpu
