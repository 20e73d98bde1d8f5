"""The dtype that values are added up in."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def widened(value):
    """Return the value in the dtype it is added up in: float32 for half types, else its own."""
    if value.dtype.primitive_bitwidth < 32:
        value = value.to(tl.float32)
    return value


@triton.jit
def zeros(LANES: tl.constexpr, DTYPE: tl.constexpr):
    """Return [LANES] zeros of the dtype that values of ``DTYPE`` are added up in."""
    return widened(tl.zeros([LANES], DTYPE))
