"""Pixels that the lanes of a program take one after the other, for kernels that do not march.

A lane is a pixel, numbered in raster order; a program takes LANES of them in a row. Either the
whole tensor is numbered, in the order of [B, C, outer, middle, inner], or every image by itself,
for kernels that go through the classes of a pixel in a loop.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pixels_of_tensor(
    channels, outer, middle, inner, LANES: tl.constexpr, WIDE_OFFSETS: tl.constexpr
):
    """Return [LANES] numbers and (batch, channel, plane, row, column) of each.

    Numbers may run past the end of the tensor.
    """
    number = tl.program_id(0)
    if WIDE_OFFSETS:
        number = number.to(tl.int64)
    number = number * LANES + tl.arange(0, LANES)
    column = number % inner
    rest = number // inner
    row = rest % middle
    rest = rest // middle
    plane = rest % outer
    rest = rest // outer
    return number, (rest // channels, rest % channels, plane, row, column)


@triton.jit
def pixels_of_image(blocks, middle, inner, LANES: tl.constexpr, WIDE_OFFSETS: tl.constexpr):
    """Return (image, block) as scalars, [LANES] numbers, and (plane, row, column) of each.

    Numbers may run past the end of the image.
    """
    image = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    number = block
    if WIDE_OFFSETS:
        number = number.to(tl.int64)
    number = number * LANES + tl.arange(0, LANES)
    rest = number // inner
    return image, block, number, (rest // middle, rest % middle, number % inner)


@triton.jit
def offset_in_tensor(pixel, strides):
    """Return [LANES] offsets of (batch, channel, plane, row, column), as wide as those are."""
    return (
        pixel[0] * strides[0]
        + pixel[1] * strides[1]
        + pixel[2] * strides[2]
        + pixel[3] * strides[3]
        + pixel[4] * strides[4]
    )


@triton.jit
def offset_in_image(pixel, strides):
    """Return [LANES] offsets of (plane, row, column), as wide as those are."""
    return pixel[0] * strides[0] + pixel[1] * strides[1] + pixel[2] * strides[2]
