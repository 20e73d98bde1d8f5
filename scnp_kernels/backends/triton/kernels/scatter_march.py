r"""Eq. 2 on the GPU: every gradient goes to the winner of its pixel.

A program marches along the outer axis and owns the accumulators of the pixels below its lanes,
for every plane that the plane being read may send to (window 3, one lane):

  plane p      g g g   row y-1  \
               g g g   row y     >  for every tap: is it the one that points to the accumulator?
               g g g   row y+1  /                 |          |          |
                                                  v          v          v
  accumulators, in registers                     p-1         p         p+1
                                                  |
  out: complete after plane p                     v
                                             gradient of (p-1, y)

Planes, rows and columns are read in ascending order and added one by one, so contributions
arrive in raster order of the pixels that send them: the result does not depend on the grid, and
is bit for bit that of the CPU. There are no atomics. Half types are added up in float32 and
rounded once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.tiles import columns_inside, tile_of_program
from .device.views import image_view, next_plane, next_row, pixels, rows_back, with_lanes_of
from .device.winners import add_to_winner


@triton.jit(
    do_not_specialize=[
        "channels", "outer", "middle", "inner", "chunk",
        "gradient_batch", "gradient_channel", "gradient_outer", "gradient_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
    ]
)  # fmt: skip
def scatter_march(
    gradient,  # [channels, outer, middle, inner] of every image, by the strides below
    winners,
    logits_gradient,  # out
    channels,
    outer,
    middle,
    inner,
    chunk,
    gradient_batch,
    gradient_channel,
    gradient_outer,
    gradient_middle,
    gradient_inner,
    winners_batch,
    winners_channel,
    winners_outer,
    winners_middle,
    winners_inner,
    result_batch,
    result_channel,
    result_outer,
    result_middle,
    result_inner,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    STRIP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ONE_LAYOUT: tl.constexpr,  # within a plane, all three have the same strides
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: ``chunk`` planes of a block of rows and columns of one channel."""
    HALF_OUTER: tl.constexpr = WINDOW_OUTER // 2
    HALF_MIDDLE: tl.constexpr = WINDOW_MIDDLE // 2
    zero = zeros(BLOCK_ROWS * COLUMNS, gradient.dtype.element_ty)
    tile = tile_of_program(channels, outer, middle, inner, chunk, 1, STRIP, BLOCK_ROWS, COLUMNS)
    column_inside = columns_inside(tile.column, inner, WINDOW_INNER)
    start = tl.maximum(tile.first - HALF_OUTER, 0)
    gradient_strides = (
        gradient_batch, gradient_channel, gradient_outer, gradient_middle, gradient_inner,
    )  # fmt: skip
    winners_strides = (winners_batch, winners_channel, winners_outer, winners_middle, winners_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    gradient = image_view(gradient, gradient_strides, tile, start, WIDE_OFFSETS)
    winners = image_view(winners, winners_strides, tile, start, WIDE_OFFSETS)
    winners = with_lanes_of(winners, gradient, ONE_LAYOUT)
    result = image_view(logits_gradient, result_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    result = with_lanes_of(result, gradient, ONE_LAYOUT)

    accumulators = (zero,) * (STRIP * WINDOW_OUTER)  # [plane, row of the strip], lowest plane first
    for step in range(tile.end + HALF_OUTER - start):
        plane = start + step
        rows_of_plane = tl.where(plane < outer, middle, 0)
        gradient_row = rows_back(gradient, HALF_MIDDLE)
        winners_row = rows_back(winners, HALF_MIDDLE)
        for source in tl.static_range(STRIP + 2 * HALF_MIDDLE):
            # `tile.row + (source - HALF_MIDDLE)` is the row that is read.
            row_inside = tile.row + (source - HALF_MIDDLE) >= 0
            row_inside = row_inside & (tile.row + (source - HALF_MIDDLE) < rows_of_plane)
            for sender in tl.static_range(WINDOW_INNER):
                # A sender outside of the image sends zero, whatever its winner.
                inside = row_inside & column_inside[sender]
                value = tl.load(
                    pixels(gradient_row, 0, sender - WINDOW_INNER // 2), mask=inside, other=0
                )
                tap = tl.load(
                    pixels(winners_row, 0, sender - WINDOW_INNER // 2), mask=inside, other=0
                )
                for plane_to in tl.static_range(WINDOW_OUTER):
                    for row_to in tl.static_range(STRIP):
                        accumulators = add_to_winner(
                            accumulators,
                            plane_to * STRIP + row_to,
                            widened(value),
                            tap.to(tl.int32),
                            plane_to,
                            row_to - source + 2 * HALF_MIDDLE,
                            WINDOW_INNER - 1 - sender,
                            WINDOW_MIDDLE,
                            WINDOW_INNER,
                        )
            gradient_row = next_row(gradient_row)
            winners_row = next_row(winners_row)
        result_row = result
        rows = tl.where(plane - HALF_OUTER >= tile.first, middle, 0)
        for row_to in tl.static_range(STRIP):
            tl.store(
                pixels(result_row, 0, 0),
                accumulators[row_to].to(logits_gradient.dtype.element_ty),
                mask=(tile.row + row_to < rows) & (tile.column < inner),
            )
            result_row = next_row(result_row)
        accumulators = accumulators[STRIP:] + (zero,) * STRIP
        gradient = next_plane(gradient)
        winners = next_plane(winners)
        result = next_plane(result)
