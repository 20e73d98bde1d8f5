// Whose kernels run: those of the best instruction set that both this build and this
// machine have. All instruction sets compute the same bits.
#pragma once

#include "targets/kernel_table.h"

namespace scnp::cpu {

// The kernels in use. The variable SCNP_CPU_CAPABILITY (portable, avx2, avx512) asks for a lower
// instruction set than the machine's best.
//
// Throws std::invalid_argument if the variable names one that is not there.
const Kernels& kernels();

}  // namespace scnp::cpu
