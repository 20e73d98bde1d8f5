r"""Eq. 1 on the GPU: every pixel takes the worst logit of its own class in its window.

    A program marches along the outer axis. Of every plane it reads each row once per tap of the
    row, and keeps the first best of each class, rows first, then planes (window 3, one lane):

      plane p      z z z   row y-1  -->  best of row  \
                   z z z   row y    -->  best of row   >  best of plane p    fg  bg  word
                   z z z   row y+1  -->  best of row  /                       |
                                                                              v
      ring of planes, in registers                       p-2      p-1         p
                                                       fg bg w  fg bg w    fg bg w
                                                            \      |       /
      out: pixel (p-1, y), whose class is in p-1's word     best of its class  -->  logit, winner

    fg, bg    key of the best candidate of either class (keys.py)
    word      which tap that was, for either class, and what the pixel in the middle is

    The next rows of a strip share what was read: STRIP + 2 rows serve STRIP results. Only a
    strictly better candidate replaces another, and candidates come in raster order, so that the
    first of equal ones stays.

In 2D a plane is one row, and the ring holds rows. The first planes of a march fill the ring: they
go through the same loop, whose stores are masked until it is full.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.keys import first_best, logit_of_key, no_candidate, ordered_key
from .device.targets import is_foreground, load_target
from .device.tiles import (
    columns_inside,
    lane_offsets,
    offset,
    place_of_program,
    widened_stride,
)

# A word: the winner of either class within what was read, then two flags of the middle pixel.
TAP_BITS = tl.constexpr(14)
FOREGROUND_TAP = tl.constexpr((1 << 14) - 1)
BACKGROUND_TAP = tl.constexpr(((1 << 14) - 1) << 14)
ONE_TAP_EACH = tl.constexpr(1 + (1 << 14))
FOREGROUND_FLAG = tl.constexpr(1 << 28)
VALID_FLAG = tl.constexpr(1 << 29)
FLAGS = tl.constexpr(3 << 28)
MOST_TAPS_OF_A_PLANE = 1 << 14


@triton.jit
def load_labels(
    target,  # pointer to the row that is read, as are the others
    target_at,  # [LANES] offsets
    target_inner,
    mask,
    mask_at,
    mask_inner,
    row_inside,
    column_inside,
    ignore_index,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """What the target says of the pixels under a row of the window: values, usable, one by one."""
    values = ()
    usable = ()
    for tap in tl.static_range(WINDOW_INNER):
        value, is_usable = load_target(
            target + (tap - WINDOW_INNER // 2) * target_inner,
            target_at,
            mask + (tap - WINDOW_INNER // 2) * mask_inner,
            mask_at,
            row_inside & column_inside[tap],
            ignore_index,
            HAS_IGNORE_INDEX,
            HAS_MASK,
        )
        values = values + (value,)
        usable = usable + (is_usable,)
    return values, usable


@triton.jit
def best_of_row(
    logits,  # pointer to the row that is read
    logits_at,  # [LANES] offsets
    logits_inner,
    row_inside,
    column_inside,
    values,  # of load_labels
    usable,
    label,
    TARGET_IS_MASKS: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """The first best of each class under a row of the window: (key, key, word)."""
    nobody = no_candidate(row_inside.shape[0], logits.dtype.element_ty)
    nothing = tl.zeros([row_inside.shape[0]], tl.int32)
    foreground_key = nobody
    background_key = nobody
    foreground_tap = nothing
    background_tap = nothing
    flags = nothing
    for tap in tl.static_range(WINDOW_INNER):
        logit = tl.load(
            logits + (tap - WINDOW_INNER // 2) * logits_inner + logits_at,
            mask=row_inside & column_inside[tap],
            other=0,
        )
        foreground = is_foreground(values[tap], label, TARGET_IS_MASKS)
        key = ordered_key(logit, foreground)
        foreground_key, foreground_tap = first_best(
            foreground_key, foreground_tap, tl.where(usable[tap] & foreground, key, nobody), tap
        )
        background_key, background_tap = first_best(
            background_key,
            background_tap,
            tl.where(usable[tap] & (foreground == 0), key, nobody),
            tap,
        )
        if tap == WINDOW_INNER // 2:
            flags = tl.where(foreground, FOREGROUND_FLAG, 0) | tl.where(usable[tap], VALID_FLAG, 0)
    word = foreground_tap | (background_tap << TAP_BITS) | flags
    return foreground_key, background_key, word


@triton.jit
def add_row(
    bests,
    row,  # of best_of_row
    AT: tl.constexpr,
    SOURCE: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """The entry of a result at ``AT``, and one more row of its window: row number ``SOURCE``."""
    if SOURCE == 0:
        bests = bests + row  # the first: entries are made in the order of results
    if (SOURCE > 0) and (SOURCE < WINDOW_MIDDLE):
        word = bests[AT + 2]
        row_word = row[2] + SOURCE * WINDOW_INNER * ONE_TAP_EACH
        if SOURCE == WINDOW_MIDDLE // 2:
            word = (word & ~FLAGS) | (row_word & FLAGS)
        foreground_key, word = first_best(
            bests[AT], word, row[0], (word & ~FOREGROUND_TAP) | (row_word & FOREGROUND_TAP)
        )
        background_key, word = first_best(
            bests[AT + 1], word, row[1], (word & ~BACKGROUND_TAP) | (row_word & BACKGROUND_TAP)
        )
        bests = bests[:AT] + (foreground_key, background_key, word) + bests[AT + 3 :]
    return bests


@triton.jit
def add_plane(
    best,  # (key, word) of one pixel's own class; its word holds one tap, and the flags
    plane,  # (key, key, word) of the same pixel's window in one more plane
    TAPS: tl.constexpr,
):
    """The better of the two, for a plane whose taps begin at ``TAPS``."""
    word = best[1]
    foreground = (word & FOREGROUND_FLAG) != 0
    tap = (plane[2] >> tl.where(foreground, 0, TAP_BITS)) & FOREGROUND_TAP
    return first_best(
        best[0], word, tl.where(foreground, plane[0], plane[1]), (word & FLAGS) | (tap + TAPS)
    )


@triton.jit
def open_window(
    ring,
    bests,
    nobody,
    AT: tl.constexpr,
    PLANE: tl.constexpr,
    HALF: tl.constexpr,
    TAPS: tl.constexpr,
):
    """The window whose middle is the plane just read: only now is its pixel's class known."""
    best = (nobody, bests[AT + 2] & FLAGS)
    for plane in tl.static_range(HALF):
        best = add_plane(best, ring[plane * PLANE + AT :], plane * TAPS)
    return add_plane(best, bests[AT:], HALF * TAPS)


@triton.jit
def bests_of_plane(
    logits,  # pointer to the plane, as are the others
    logits_at,  # [LANES] offsets within it
    logits_channel,
    logits_middle,
    logits_inner,
    target,
    target_at,
    target_channel,
    target_middle,
    target_inner,
    mask,
    mask_at,
    mask_middle,
    mask_inner,
    row,
    rows_of_plane,  # 0 beyond the image's end, where there is nothing to read
    column_inside,
    channel,
    channels,
    label,
    ignore_index,
    TARGET_IS_MASKS: tl.constexpr,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
):
    """What the window of each (row of the strip, channel) has in this plane: (key, key, word)."""
    HALF_MIDDLE: tl.constexpr = WINDOW_MIDDLE // 2
    logits -= HALF_MIDDLE * logits_middle
    target -= HALF_MIDDLE * target_middle
    mask -= HALF_MIDDLE * mask_middle
    bests = ()
    for source in tl.static_range(STRIP + 2 * HALF_MIDDLE):
        # `row + (source - HALF_MIDDLE)` is the row that is read.
        row_inside = row + (source - HALF_MIDDLE) >= 0
        for c in tl.static_range(CHANNELS):
            if (c == 0) or TARGET_IS_MASKS:
                values, usable = load_labels(
                    target + c * target_channel,
                    target_at,
                    target_inner,
                    mask,
                    mask_at,
                    mask_inner,
                    row_inside & (row + (source - HALF_MIDDLE) < rows_of_plane),
                    column_inside,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                    WINDOW_INNER,
                )
            # The last group of channels may be incomplete: what lies beyond is not read.
            rows = tl.where(channel + c < channels, rows_of_plane, 0)
            best = best_of_row(
                logits + c * logits_channel,
                logits_at,
                logits_inner,
                row_inside & (row + (source - HALF_MIDDLE) < rows),
                column_inside,
                values,
                usable,
                label + c,
                TARGET_IS_MASKS,
                WINDOW_INNER,
            )
            for result in tl.static_range(STRIP):
                bests = add_row(
                    bests,
                    best,
                    (result * CHANNELS + c) * 3,
                    source - result,
                    WINDOW_MIDDLE,
                    WINDOW_INNER,
                )
        logits += logits_middle
        target += target_middle
        mask += mask_middle
    return bests


@triton.jit
def windows_with_plane(
    ring,
    open_windows,
    bests,
    nobody,
    RESULTS: tl.constexpr,
    HALF_OUTER: tl.constexpr,
    PLANE_TAPS: tl.constexpr,
):
    """(key, word) for each (middle plane, row of the strip, channel), one more plane read: the
    first RESULTS of them are complete."""
    windows = ()
    for window in tl.static_range(HALF_OUTER):
        for result in tl.static_range(RESULTS):
            windows = windows + add_plane(
                open_windows[2 * (window * RESULTS + result) :],
                bests[3 * result :],
                (2 * HALF_OUTER - window) * PLANE_TAPS,
            )
    for result in tl.static_range(RESULTS):
        windows = windows + open_window(
            ring, bests, nobody, 3 * result, 3 * RESULTS, HALF_OUTER, PLANE_TAPS
        )
    return windows


@triton.jit(
    do_not_specialize=[
        "channels", "outer", "middle", "inner", "chunk",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def march_forward(
    logits,  # [channels, outer, middle, inner] of every image, by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
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
    batch, channel, first, end, row, column = place_of_program(
        channels, outer, middle, inner, chunk, CHANNELS, STRIP, BLOCK_ROWS, COLUMNS
    )
    logits += offset(batch, logits_batch) + offset(channel, logits_channel)
    target += offset(batch, target_batch) + offset(channel, target_channel)
    mask += offset(batch, mask_batch)
    penalized += offset(batch, result_batch) + offset(channel, result_channel)
    winners += offset(batch, result_batch) + offset(channel, result_channel)
    label = first_class + channel
    logits_middle = widened_stride(logits_middle, WIDE_OFFSETS)
    logits_inner = widened_stride(logits_inner, WIDE_OFFSETS)
    target_middle = widened_stride(target_middle, WIDE_OFFSETS)
    target_inner = widened_stride(target_inner, WIDE_OFFSETS)
    mask_middle = widened_stride(mask_middle, WIDE_OFFSETS)
    mask_inner = widened_stride(mask_inner, WIDE_OFFSETS)
    result_middle = widened_stride(result_middle, WIDE_OFFSETS)
    logits_at = lane_offsets(row, column, logits_middle, logits_inner, WIDE_OFFSETS)
    target_at = lane_offsets(row, column, target_middle, target_inner, WIDE_OFFSETS)
    mask_at = lane_offsets(row, column, mask_middle, mask_inner, WIDE_OFFSETS)
    result_at = logits_at
    if not RESULT_LIKE_LOGITS:
        result_at = lane_offsets(row, column, result_middle, result_inner, WIDE_OFFSETS)
    column_inside = columns_inside(column, inner, WINDOW_INNER)

    nobody = no_candidate(LANES, DTYPE)
    nothing = tl.zeros([LANES], tl.int32)
    ring = (nobody, nobody, nothing) * (RESULTS * HALF_OUTER)
    open_windows = (nobody, nothing) * (RESULTS * HALF_OUTER)
    start = tl.maximum(first - HALF_OUTER, 0)
    # Pointers walk along with the march. Computed anew from the plane's number they would, once the
    # compiler has moved out of the loop whatever it can, take most of a thread's registers.
    logits += offset(start, logits_outer)
    target += offset(start, target_outer)
    mask += offset(start, mask_outer)
    penalized += offset(start - HALF_OUTER, result_outer)
    winners += offset(start - HALF_OUTER, result_outer)
    for step in range(end + HALF_OUTER - start):
        plane = start + step
        # Beyond the image's end there is nothing to read, only the ring to be emptied.
        rows_of_plane = tl.where(plane < outer, middle, 0)
        bests = bests_of_plane(
            logits, logits_at, logits_channel, logits_middle, logits_inner,
            target, target_at, target_channel, target_middle, target_inner,
            mask, mask_at, mask_middle, mask_inner,
            row, rows_of_plane, column_inside, channel, channels, label, ignore_index,
            TARGET_IS_MASKS, HAS_IGNORE_INDEX, HAS_MASK,
            WINDOW_MIDDLE, WINDOW_INNER, CHANNELS, STRIP,
        )  # fmt: skip
        windows = windows_with_plane(
            ring, open_windows, bests, nobody, RESULTS, HALF_OUTER, PLANE_TAPS
        )
        open_windows = windows[2 * RESULTS :]
        ring = (ring + bests)[3 * RESULTS :]

        # The window of the plane half a window back is complete.
        penalized_row = penalized
        winners_row = winners
        for result in tl.static_range(STRIP):
            for c in tl.static_range(CHANNELS):
                key = windows[2 * (result * CHANNELS + c)]
                word = windows[2 * (result * CHANNELS + c) + 1]
                tap = word & FOREGROUND_TAP
                foreground = (word & FOREGROUND_FLAG) != 0
                valid = (word & VALID_FLAG) != 0
                rows = tl.where((plane - HALF_OUTER >= first) & (channel + c < channels), middle, 0)
                write = (row + result < rows) & (column < inner)
                if HAS_IGNORE_INDEX or HAS_MASK:
                    tap = tl.where(valid, tap, WINDOW_OUTER * PLANE_TAPS // 2)
                if not WINNERS_ONLY:
                    logit = logit_of_key(key, foreground, DTYPE)
                    if HAS_IGNORE_INDEX or HAS_MASK:
                        # An invalid pixel keeps its logit, which nobody carried along: read it
                        # again.
                        own = tl.load(
                            logits
                            - HALF_OUTER * logits_outer.to(tl.int64)
                            + c * logits_channel
                            + result * logits_middle
                            + logits_at,
                            mask=write & (valid == 0),
                            other=0,
                        )
                        logit = tl.where(valid, logit, own)
                    tl.store(penalized_row + c * result_channel + result_at, logit, mask=write)
                tl.store(
                    winners_row + c * result_channel + result_at,
                    tap.to(winners.dtype.element_ty),
                    mask=write,
                )
            penalized_row += result_middle
            winners_row += result_middle
        logits += logits_outer
        target += target_outer
        mask += mask_outer
        penalized += result_outer
        winners += result_outer
