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

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Tile(NamedTuple):
    """What one program writes."""

    batch: Any  # scalar, as are the next three
    channel: Any  # the first of CHANNELS
    first: Any  # plane
    end: Any  # one past the last plane
    row: Any  # [LANES], the first row of the lane's strip
    column: Any  # [LANES]


@triton.jit
def tile_of_program(
    channels,
    outer,
    middle,
    inner,
    chunk,  # planes of the outer axis that one program writes
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Return the :class:`Tile` of this program."""
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
    return Tile(batch, channel, first, tl.minimum(first + chunk, outer), row, column)


@triton.jit
def columns_inside(column, inner, WINDOW_INNER: tl.constexpr):
    """Return [LANES] bool for every tap of a row of the window: whether its column is inside."""
    inside = ()
    for tap in tl.static_range(WINDOW_INNER):
        neighbour = column + (tap - WINDOW_INNER // 2)
        inside = inside + ((neighbour >= 0) & (neighbour < inner),)
    return inside
