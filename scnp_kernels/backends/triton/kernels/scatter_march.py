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
    is bit for bit that of the CPU. No atomics. Half types are added up in float32 and round once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.tiles import (
    columns_inside,
    lane_offsets,
    offset,
    place_of_program,
    widened_stride,
)


@triton.jit
def add_to_winner(
    sums,
    AT: tl.constexpr,
    value,
    tap,
    PLANE: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """Add ``value`` to the accumulator ``AT`` where that is the sender's winner: it lies in plane,
    row and column PLANE, DOWN and ACROSS of the sender's window, unless that is none of its rows.
    """
    if (DOWN >= 0) and (DOWN < WINDOW_MIDDLE):
        wanted: tl.constexpr = (PLANE * WINDOW_MIDDLE + DOWN) * WINDOW_INNER + ACROSS
        added = sums[AT] + tl.where(tap == wanted, value, 0.0)
        sums = sums[:AT] + (added,) + sums[AT + 1 :]
    return sums


@triton.jit(
    do_not_specialize=[
        "channels", "outer", "middle", "inner", "chunk",
        "gradient_batch", "gradient_channel", "gradient_outer", "gradient_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
    ]
)  # fmt: skip
def march_scatter(
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
    batch, channel, first, end, row, column = place_of_program(
        channels, outer, middle, inner, chunk, 1, STRIP, BLOCK_ROWS, COLUMNS
    )
    gradient += offset(batch, gradient_batch) + offset(channel, gradient_channel)
    winners += offset(batch, winners_batch) + offset(channel, winners_channel)
    logits_gradient += offset(batch, result_batch) + offset(channel, result_channel)
    gradient_middle = widened_stride(gradient_middle, WIDE_OFFSETS)
    gradient_inner = widened_stride(gradient_inner, WIDE_OFFSETS)
    winners_middle = widened_stride(winners_middle, WIDE_OFFSETS)
    winners_inner = widened_stride(winners_inner, WIDE_OFFSETS)
    result_middle = widened_stride(result_middle, WIDE_OFFSETS)
    gradient_at = lane_offsets(row, column, gradient_middle, gradient_inner, WIDE_OFFSETS)
    winners_at = gradient_at
    result_at = gradient_at
    if not ONE_LAYOUT:
        winners_at = lane_offsets(row, column, winners_middle, winners_inner, WIDE_OFFSETS)
        result_at = lane_offsets(row, column, result_middle, result_inner, WIDE_OFFSETS)
    column_inside = columns_inside(column, inner, WINDOW_INNER)

    zero = zeros(BLOCK_ROWS * COLUMNS, gradient.dtype.element_ty)
    sums = (zero,) * (STRIP * WINDOW_OUTER)  # [plane, row of the strip], the lowest plane first
    start = tl.maximum(first - HALF_OUTER, 0)
    # Pointers walk along with the march, for the sake of registers: see march_forward.py.
    gradient += offset(start, gradient_outer)
    winners += offset(start, winners_outer)
    logits_gradient += offset(start - HALF_OUTER, result_outer)
    for step in range(end + HALF_OUTER - start):
        plane = start + step
        rows_of_plane = tl.where(plane < outer, middle, 0)
        gradient_row = gradient - HALF_MIDDLE * gradient_middle
        winners_row = winners - HALF_MIDDLE * winners_middle
        for source in tl.static_range(STRIP + 2 * HALF_MIDDLE):
            # `row + (source - HALF_MIDDLE)` is the row that is read.
            row_inside = row + (source - HALF_MIDDLE) >= 0
            row_inside = row_inside & (row + (source - HALF_MIDDLE) < rows_of_plane)
            for sender in tl.static_range(WINDOW_INNER):
                # What lies outside of the image sends zero, whatever its winner.
                inside = row_inside & column_inside[sender]
                value = tl.load(
                    gradient_row + (sender - WINDOW_INNER // 2) * gradient_inner + gradient_at,
                    mask=inside,
                    other=0,
                )
                tap = tl.load(
                    winners_row + (sender - WINDOW_INNER // 2) * winners_inner + winners_at,
                    mask=inside,
                    other=0,
                )
                for target in tl.static_range(WINDOW_OUTER):
                    for result in tl.static_range(STRIP):
                        sums = add_to_winner(
                            sums,
                            target * STRIP + result,
                            widened(value),
                            tap.to(tl.int32),
                            target,
                            result - source + 2 * HALF_MIDDLE,
                            WINDOW_INNER - 1 - sender,
                            WINDOW_MIDDLE,
                            WINDOW_INNER,
                        )
            gradient_row += gradient_middle
            winners_row += winners_middle
        result_row = logits_gradient
        rows = tl.where(plane - HALF_OUTER >= first, middle, 0)
        for result in tl.static_range(STRIP):
            tl.store(
                result_row + result_at,
                sums[result].to(logits_gradient.dtype.element_ty),
                mask=(row + result < rows) & (column < inner),
            )
            result_row += result_middle
        sums = sums[STRIP:] + (zero,) * STRIP
        gradient += gradient_outer
        winners += winners_outer
        logits_gradient += result_outer
