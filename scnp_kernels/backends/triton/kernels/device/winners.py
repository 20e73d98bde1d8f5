"""Pixels of one image, one after the other, and their logits: own ones, or those of their winners.

A lane is a pixel, numbered within its image in the order of [outer, middle, inner]; a program has
one block of LANES pixels, and passes through their classes in a loop that is not unrolled.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import widened


@triton.jit
def pixels_of_block(blocks, middle, inner, LANES: tl.constexpr, WIDE_OFFSETS: tl.constexpr):
    """(image, block) as scalars; [LANES] numbers, which may run past the end; their places."""
    image = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    number = block
    if WIDE_OFFSETS:
        number = number.to(tl.int64)
    number = number * LANES + tl.arange(0, LANES)
    rest = number // inner
    return image, block, number, (rest // middle, rest % middle, number % inner)


@triton.jit
def offset_of_place(place, strides):
    """[LANES] offsets within an image, as wide as the place is given."""
    return place[0] * strides[0] + place[1] * strides[1] + place[2] * strides[2]


@triton.jit
def load_logit(
    logits,  # pointer to the channel's image, as is winners
    winners,
    place,
    here,  # [LANES] bool: is there such a pixel?
    sizes,  # (outer, middle, inner), as are the strides
    logits_strides,
    winners_strides,
    PENALIZED: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """[LANES] logits, widened: of the pixels' winners, or their own."""
    plane = place[0]
    row = place[1]
    column = place[2]
    if PENALIZED:
        tap = tl.load(winners + offset_of_place(place, winners_strides), mask=here, other=0)
        tap = tap.to(tl.int32)
        column += tap % WINDOW_INNER - WINDOW_INNER // 2
        tap = tap // WINDOW_INNER
        row += tap % WINDOW_MIDDLE - WINDOW_MIDDLE // 2
        plane += tap // WINDOW_MIDDLE - WINDOW_OUTER // 2
        # Winners of a forward pass never leave the image; anybody else's must not leave memory.
        column = tl.minimum(tl.maximum(column, 0), sizes[2] - 1)
        row = tl.minimum(tl.maximum(row, 0), sizes[1] - 1)
        plane = tl.minimum(tl.maximum(plane, 0), sizes[0] - 1)
    at = offset_of_place((plane, row, column), logits_strides)
    return widened(tl.load(logits + at, mask=here, other=0))
