// Which instruction set the kernels use: the best that both this build and this machine have.
//
// The kernels' source is compiled once per capability (capability_*.cpp), each in a namespace of
// its own, so that no function of one is ever taken for the same function of another. All
// capabilities compute the same bits.
#pragma once

#include "kernels.h"
#include "targets/instruction_sets.h"

namespace scnp::cpu {

// What one capability provides.
struct Kernels {
  const char* name;
  Fault (*forward)(const ForwardCall& call, const Workers& workers);
  void (*scatter)(const ScatterCall& call, const Workers& workers);
  Fault (*dice_ce_forward)(const DiceCEForwardCall& call, const Workers& workers);
  void (*dice_ce_backward)(const DiceCEBackwardCall& call, const Workers& workers);
};

// The kernels in use. The variable SCNP_CPU_CAPABILITY (portable, avx2, avx512) asks for a lower
// capability than the machine's best; one that is not there is not given way to.
const Kernels& kernels();

}  // namespace scnp::cpu
