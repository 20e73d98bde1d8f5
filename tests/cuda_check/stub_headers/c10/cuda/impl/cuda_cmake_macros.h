// What a CUDA build of torch generates and its CPU wheel leaves out. Only for compiling the binding
// against the CPU wheel, never for a build that is run.
#pragma once

#define C10_CUDA_BUILD_SHARED_LIBS
