r"""Eq. 1 on the GPU: every pixel takes the worst logit of its own class in its window.

    A program marches along the outer axis, a plane a step (device/windows.py draws one step):

      read plane p  -->  first best of the windows around plane p-1  -->  logits, winners of p-1

The first planes of a march fill the ring of planes: they go through the same loop, whose stores are
masked until the first window is complete.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.keys import logit_of_key
from .device.tiles import columns_inside, tile_of_program
from .device.views import image_view, next_plane, next_row, pixels, planes_back, with_lanes_of
from .device.windows import (
    FOREGROUND_FLAG,
    FOREGROUND_TAP,
    VALID_FLAG,
    bests_of_plane,
    empty_windows,
    windows_with_plane,
)


@triton.jit(
    do_not_specialize=[
        "channels", "outer", "middle", "inner", "chunk",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "gate_batch", "gate_outer", "gate_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def forward_march(
    logits,  # [channels, outer, middle, inner] of every image, by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    gate,  # likewise, HAS_GATE: 0 where a pixel keeps its own logit
    penalized,  # out, with the strides of the winners
    winners,  # out
    channels,
    outer,
    middle,
    inner,
    chunk,
    logits_batch,
    logits_channel,
    logits_outer,
    logits_middle,
    logits_inner,
    target_batch,
    target_channel,
    target_outer,
    target_middle,
    target_inner,
    mask_batch,
    mask_outer,
    mask_middle,
    mask_inner,
    gate_batch,
    gate_outer,
    gate_middle,
    gate_inner,
    result_batch,
    result_channel,
    result_outer,
    result_middle,
    result_inner,
    first_class,
    ignore_index,
    TARGET_IS_MASKS: tl.constexpr,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_GATE: tl.constexpr,
    WINNERS_ONLY: tl.constexpr,  # penalized is never written
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    RESULT_LIKE_LOGITS: tl.constexpr,  # within a plane, the same strides
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: CHANNELS channels of ``chunk`` planes of a block of rows and columns."""
    DTYPE: tl.constexpr = logits.dtype.element_ty
    LANES: tl.constexpr = BLOCK_ROWS * COLUMNS
    HALF_OUTER: tl.constexpr = WINDOW_OUTER // 2
    PLANE_TAPS: tl.constexpr = WINDOW_MIDDLE * WINDOW_INNER
    RESULTS: tl.constexpr = CHANNELS * STRIP
    tile = tile_of_program(
        channels, outer, middle, inner, chunk, CHANNELS, STRIP, BLOCK_ROWS, COLUMNS
    )
    label = first_class + tile.channel
    column_inside = columns_inside(tile.column, inner, WINDOW_INNER)
    start = tl.maximum(tile.first - HALF_OUTER, 0)
    logits_strides = (logits_batch, logits_channel, logits_outer, logits_middle, logits_inner)
    target_strides = (target_batch, target_channel, target_outer, target_middle, target_inner)
    mask_strides = (mask_batch, 0, mask_outer, mask_middle, mask_inner)
    gate_strides = (gate_batch, 0, gate_outer, gate_middle, gate_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    logits = image_view(logits, logits_strides, tile, start, WIDE_OFFSETS)
    target = image_view(target, target_strides, tile, start, WIDE_OFFSETS)
    mask = image_view(mask, mask_strides, tile, start, WIDE_OFFSETS)
    gate = image_view(gate, gate_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    penalized = image_view(penalized, result_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    penalized = with_lanes_of(penalized, logits, RESULT_LIKE_LOGITS)
    winners = image_view(winners, result_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    winners = with_lanes_of(winners, penalized, True)

    ring, open_windows = empty_windows(LANES, DTYPE, RESULTS, HALF_OUTER)
    for step in range(tile.end + HALF_OUTER - start):
        plane = start + step
        # Beyond the image's end there is nothing to read, only the ring to be emptied.
        rows_of_plane = tl.where(plane < outer, middle, 0)
        bests = bests_of_plane(
            logits, target, mask, tile.row, rows_of_plane, column_inside,
            tile.channel, channels, label, ignore_index,
            TARGET_IS_MASKS, HAS_IGNORE_INDEX, HAS_MASK,
            WINDOW_MIDDLE, WINDOW_INNER, CHANNELS, STRIP,
        )  # fmt: skip
        windows, ring, open_windows = windows_with_plane(
            ring, open_windows, bests, LANES, DTYPE, RESULTS, HALF_OUTER, PLANE_TAPS
        )

        # The windows around the plane half a window back are complete.
        logits_row = planes_back(logits, HALF_OUTER)
        gate_row = gate
        penalized_row = penalized
        winners_row = winners
        for result in tl.static_range(STRIP):
            for c in tl.static_range(CHANNELS):
                key = windows[2 * (result * CHANNELS + c)]
                word = windows[2 * (result * CHANNELS + c) + 1]
                tap = word & FOREGROUND_TAP
                foreground = (word & FOREGROUND_FLAG) != 0
                penalizes = (word & VALID_FLAG) != 0
                rows = tl.where(
                    (plane - HALF_OUTER >= tile.first) & (tile.channel + c < channels), middle, 0
                )
                write = (tile.row + result < rows) & (tile.column < inner)
                if HAS_GATE:
                    penalizes &= tl.load(pixels(gate_row, 0, 0), mask=write, other=0) != 0
                if HAS_IGNORE_INDEX or HAS_MASK or HAS_GATE:
                    tap = tl.where(penalizes, tap, WINDOW_OUTER * PLANE_TAPS // 2)
                if not WINNERS_ONLY:
                    logit = logit_of_key(key, foreground, DTYPE)
                    if HAS_IGNORE_INDEX or HAS_MASK or HAS_GATE:
                        # Pixels that keep their logit read it: the march does not carry it along.
                        keeps = write & (penalizes == 0)
                        own = tl.load(pixels(logits_row, c, 0), mask=keeps, other=0)
                        logit = tl.where(penalizes, logit, own)
                    tl.store(pixels(penalized_row, c, 0), logit, mask=write)
                tl.store(
                    pixels(winners_row, c, 0),
                    tap.to(winners_row.pointer.dtype.element_ty),
                    mask=write,
                )
            logits_row = next_row(logits_row)
            gate_row = next_row(gate_row)
            penalized_row = next_row(penalized_row)
            winners_row = next_row(winners_row)
        logits = next_plane(logits)
        target = next_plane(target)
        mask = next_plane(mask)
        gate = next_plane(gate)
        penalized = next_plane(penalized)
        winners = next_plane(winners)
