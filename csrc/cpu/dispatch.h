// Which target's kernels run: those of the best instruction set that both this build and this
// machine have. All targets compute the same bits.
#pragma once

#include "targets/kernel_table.h"

namespace scnp::cpu {

// The kernels in use. The variable SCNP_CPU_CAPABILITY (portable, avx2, avx512) asks for a lower
// target than the machine's best.
//
// Throws std::invalid_argument if the variable names a target that is not there.
const Kernels& kernels();

}  // namespace scnp::cpu
