"""The type that values are added up in."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def widened(value):
    """As it is added up: float32 for half types, else as it is."""
    if value.dtype.primitive_bitwidth < 32:
        value = value.to(tl.float32)
    return value


@triton.jit
def zeros(LANES: tl.constexpr, DTYPE: tl.constexpr):
    """[LANES] sums of nothing, of the type that values of ``DTYPE`` are added up in."""
    return widened(tl.zeros([LANES], DTYPE))
