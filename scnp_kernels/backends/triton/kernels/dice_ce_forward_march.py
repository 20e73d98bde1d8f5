"""Dice + cross entropy's sums on the GPU in one pass, for few classes: march_forward.py with all
channels of a pixel in one program.

    logits, labels  -->  the march of march_forward.py  -->  winners, to memory
                                      |
                     penalized logits of a pixel's classes, in registers
                                      |
                     softmax  -->  terms of each class  -->  sums of each lane, in registers
                                                                |
                                    at the end, over the program's lanes: one number per sum

The joint loss reads a pixel's own logits once more, out of the cache.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.keys import logit_of_key, no_candidate
from .device.numbers import widened, zeros
from .device.pixel_loss import softmax_of_all, terms_of_class
from .device.tiles import (
    columns_inside,
    lane_offsets,
    offset,
    place_of_program,
    widened_stride,
)
from .forward_march import (
    FOREGROUND_FLAG,
    FOREGROUND_TAP,
    VALID_FLAG,
    bests_of_plane,
    windows_with_plane,
)


@triton.jit
def add_terms_of_pixel(
    sums,
    logits,  # one for each class
    foregrounds,
    valid,
    AT: tl.constexpr,
    CLASSES: tl.constexpr,
    SOFTMAX: tl.constexpr,
):
    """Add what a pixel gives to the sums of a term, which begin at ``AT``: three for each class, or
    four, of sigmoid."""
    PER_CLASS: tl.constexpr = 3 if SOFTMAX else 4
    largest = logits[0]
    total = logits[0]
    if SOFTMAX:
        largest, total = softmax_of_all(logits, CLASSES)
    added = sums[:AT]
    for k in tl.static_range(CLASSES):
        terms = terms_of_class(logits[k], foregrounds[k], largest, total, valid, SOFTMAX)
        for field in tl.static_range(PER_CLASS):
            added = added + (sums[AT + k * PER_CLASS + field] + terms[field],)
    return added + sums[AT + CLASSES * PER_CLASS :]


@triton.jit(
    do_not_specialize=[
        "images", "programs", "outer", "middle", "inner", "chunk",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def march_sums(
    logits,  # [CHANNELS, outer, middle, inner] of every image, by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,  # out
    partials,  # out: [terms, 6, B, CHANNELS, programs], the penalized term first
    images,
    programs,  # of an image
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
    winners_batch,
    winners_channel,
    winners_outer,
    winners_middle,
    winners_inner,
    first_class,
    ignore_index,
    TARGET_IS_MASKS: tl.constexpr,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
    SOFTMAX: tl.constexpr,
    OF_PLAIN: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ONE_LAYOUT: tl.constexpr,  # within a plane, winners have the strides of the logits
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: all channels of ``chunk`` planes of a block of rows and columns."""
    DTYPE: tl.constexpr = logits.dtype.element_ty
    LANES: tl.constexpr = BLOCK_ROWS * COLUMNS
    HALF_OUTER: tl.constexpr = WINDOW_OUTER // 2
    PLANE_TAPS: tl.constexpr = WINDOW_MIDDLE * WINDOW_INNER
    RESULTS: tl.constexpr = CHANNELS * STRIP
    PER_CLASS: tl.constexpr = 3 if SOFTMAX else 4
    image, channel, first, end, row, column = place_of_program(
        CHANNELS, outer, middle, inner, chunk, CHANNELS, STRIP, BLOCK_ROWS, COLUMNS
    )
    logits += offset(image, logits_batch)
    target += offset(image, target_batch)
    mask += offset(image, mask_batch)
    winners += offset(image, winners_batch)
    logits_middle = widened_stride(logits_middle, WIDE_OFFSETS)
    logits_inner = widened_stride(logits_inner, WIDE_OFFSETS)
    target_middle = widened_stride(target_middle, WIDE_OFFSETS)
    target_inner = widened_stride(target_inner, WIDE_OFFSETS)
    mask_middle = widened_stride(mask_middle, WIDE_OFFSETS)
    mask_inner = widened_stride(mask_inner, WIDE_OFFSETS)
    winners_middle = widened_stride(winners_middle, WIDE_OFFSETS)
    logits_at = lane_offsets(row, column, logits_middle, logits_inner, WIDE_OFFSETS)
    target_at = lane_offsets(row, column, target_middle, target_inner, WIDE_OFFSETS)
    mask_at = lane_offsets(row, column, mask_middle, mask_inner, WIDE_OFFSETS)
    winners_at = logits_at
    if not ONE_LAYOUT:
        winners_at = lane_offsets(row, column, winners_middle, winners_inner, WIDE_OFFSETS)
    column_inside = columns_inside(column, inner, WINDOW_INNER)

    nobody = no_candidate(LANES, DTYPE)
    nothing = tl.zeros([LANES], tl.int32)
    ring = (nobody, nobody, nothing) * (RESULTS * HALF_OUTER)
    open_windows = (nobody, nothing) * (RESULTS * HALF_OUTER)
    zero = zeros(LANES, DTYPE)
    sums = (zero,) * (PER_CLASS * CHANNELS * (1 + OF_PLAIN))  # [term, class, field]
    counts = (nothing,) * (CHANNELS + 1)  # pixels of each class, and valid ones
    start = tl.maximum(first - HALF_OUTER, 0)
    # Pointers walk along with the march, for the sake of registers: see march_forward.py.
    logits += offset(start, logits_outer)
    target += offset(start, target_outer)
    mask += offset(start, mask_outer)
    winners += offset(start - HALF_OUTER, winners_outer)
    for step in range(end + HALF_OUTER - start):
        plane = start + step
        bests = bests_of_plane(
            logits, logits_at, logits_channel, logits_middle, logits_inner,
            target, target_at, target_channel, target_middle, target_inner,
            mask, mask_at, mask_middle, mask_inner,
            row, tl.where(plane < outer, middle, 0), column_inside,
            channel, CHANNELS, first_class, ignore_index,
            TARGET_IS_MASKS, HAS_IGNORE_INDEX, HAS_MASK,
            WINDOW_MIDDLE, WINDOW_INNER, CHANNELS, STRIP,
        )  # fmt: skip
        windows = windows_with_plane(
            ring, open_windows, bests, nobody, RESULTS, HALF_OUTER, PLANE_TAPS
        )
        open_windows = windows[2 * RESULTS :]
        ring = (ring + bests)[3 * RESULTS :]

        # The window of the plane half a window back is complete.
        rows = tl.where(plane - HALF_OUTER >= first, middle, 0)
        winners_row = winners
        own_row = logits - HALF_OUTER * logits_outer.to(tl.int64)
        for result in tl.static_range(STRIP):
            here = (row + result < rows) & (column < inner)
            valid = here
            if HAS_IGNORE_INDEX or HAS_MASK:
                valid = here & ((windows[2 * result * CHANNELS + 1] & VALID_FLAG) != 0)
            penalized = ()
            foregrounds = ()
            for c in tl.static_range(CHANNELS):
                word = windows[2 * (result * CHANNELS + c) + 1]
                foreground = (word & FOREGROUND_FLAG) != 0
                logit = logit_of_key(windows[2 * (result * CHANNELS + c)], foreground, DTYPE)
                penalized = penalized + (widened(logit),)
                foregrounds = foregrounds + (foreground,)
                tap = word & FOREGROUND_TAP
                if HAS_IGNORE_INDEX or HAS_MASK:
                    tap = tl.where(valid, tap, WINDOW_OUTER * PLANE_TAPS // 2)
                tl.store(
                    winners_row + c * winners_channel + winners_at,
                    tap.to(winners.dtype.element_ty),
                    mask=here,
                )
            sums = add_terms_of_pixel(sums, penalized, foregrounds, valid, 0, CHANNELS, SOFTMAX)
            if OF_PLAIN:
                own = ()
                for c in tl.static_range(CHANNELS):
                    logit = tl.load(own_row + c * logits_channel + logits_at, mask=here, other=0)
                    own = own + (widened(logit),)
                sums = add_terms_of_pixel(
                    sums, own, foregrounds, valid, PER_CLASS * CHANNELS, CHANNELS, SOFTMAX
                )
            counted = ()
            for c in tl.static_range(CHANNELS):
                counted = counted + (counts[c] + (foregrounds[c] & valid).to(tl.int32),)
            counts = counted + (counts[CHANNELS] + valid.to(tl.int32),)
            winners_row += winners_middle
            own_row += logits_middle
        logits += logits_outer
        target += target_outer
        mask += mask_outer
        winners += winners_outer

    field = offset(images * CHANNELS, programs)
    partials += offset(image * CHANNELS, programs) + tl.program_id(0) % programs
    for term in tl.static_range(1 + OF_PLAIN):
        for c in tl.static_range(CHANNELS):
            to = partials + c * programs
            of_class = sums[(term * CHANNELS + c) * PER_CLASS :]
            tl.store(to, tl.sum(of_class[0], 0))
            tl.store(to + field, tl.sum(of_class[1], 0))
            tl.store(to + 2 * field, tl.sum(counts[c], 0).to(zero.dtype))
            tl.store(to + 3 * field, tl.sum(of_class[2], 0))
            if SOFTMAX:
                tl.store(to + 4 * field, tl.sum(zero, 0))
            else:
                tl.store(to + 4 * field, tl.sum(of_class[3], 0))
            tl.store(to + 5 * field, tl.sum(counts[CHANNELS], 0).to(zero.dtype))
        partials += 6 * field
