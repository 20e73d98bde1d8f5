// Everything the kernels use from outside, included before the instruction set is raised: what is
// shared with the rest of the program must stay runnable on every machine.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "../dispatch.h"
#include "instruction_sets.h"
#define SCNP_AVX512_BLOCKS (SCNP_X86_CAPABILITIES && SCNP_VECTOR_BYTES == 64)
#if SCNP_X86
#include <immintrin.h>
#endif
#include "../kernels.h"
#include "../memory/scratch.h"
#include "../scatter/winners.h"
#include "../tiling/tiles.h"
#include "vectorize.h"
