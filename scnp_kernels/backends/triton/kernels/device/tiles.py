"""Which part of the image a marching program works on.

grid: one number per program; neighbours in memory have neighbouring numbers, so that what two
programs both read is in the cache:

    batch > chunk of the outer axis > channels > block of rows > block of columns

a program's lanes, one thread each: BLOCK_ROWS rows of COLUMNS pixels; every lane works on a
strip of STRIP rows (2D: the middle axis has one row, so one lane is one column)

    columns ->      lane 0        lane 1        ...     lane COLUMNS - 1
    row 0           strip row 0   strip row 0           strip row 0
    row 1           strip row 1   strip row 1           strip row 1
    row STRIP       lane COLUMNS  ...
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place_of_program(
    channels,
    outer,
    middle,
    inner,
    chunk,  # pixels of the outer axis that one program writes
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """(batch, first channel, first plane, one past the last) as scalars, (row, column) per lane."""
    number = tl.program_id(0)
    blocks = tl.cdiv(inner, COLUMNS)
    column_block = number % blocks
    number = number // blocks
    blocks = tl.cdiv(middle, BLOCK_ROWS * STRIP)
    row_block = number % blocks
    number = number // blocks
    groups = tl.cdiv(channels, CHANNELS)
    channel = number % groups * CHANNELS
    number = number // groups
    chunks = tl.cdiv(outer, chunk)
    first = number % chunks * chunk
    batch = number // chunks
    lanes = tl.arange(0, BLOCK_ROWS * COLUMNS)
    row = row_block * (BLOCK_ROWS * STRIP) + lanes // COLUMNS * STRIP
    column = column_block * COLUMNS + lanes % COLUMNS
    return batch, channel, first, tl.minimum(first + chunk, outer), row, column


@triton.jit
def offset(index, stride):
    """A scalar offset that cannot overflow."""
    return index.to(tl.int64) * stride


@triton.jit
def widened_stride(stride, WIDE_OFFSETS: tl.constexpr):
    """A stride whose multiples within a plane cannot overflow."""
    if WIDE_OFFSETS:
        stride = stride * tl.full([], 1, tl.int64)
    return stride


@triton.jit
def lane_offsets(row, column, row_stride, column_stride, WIDE_OFFSETS: tl.constexpr):
    """[LANES] offsets within a plane, in 32 bits where the plane fits."""
    if WIDE_OFFSETS:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    return row * row_stride + column * column_stride


@triton.jit
def columns_inside(column, inner, WINDOW_INNER: tl.constexpr):
    """For every tap of a row of the window: is its column in the image?"""
    inside = ()
    for tap in tl.static_range(WINDOW_INNER):
        there = column + (tap - WINDOW_INNER // 2)
        inside = inside + ((there >= 0) & (there < inner),)
    return inside
