"""Dice + cross entropy's statistics on the GPU in one pass, for few classes.

This is forward_march.py with all channels of a pixel in one program.

    logits, labels  -->  the march of device/windows.py  -->  winners, to memory
                                      |
                     penalized logits of a pixel's classes, in registers
                                      |
                     softmax  -->  terms of each class  -->  statistics of each lane, in registers
                                                                |
                              at the end, over the program's lanes: one number per statistic

The joint loss reads a pixel's unpenalized logits once more, out of the cache.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.keys import logit_of_key
from .device.numbers import widened, zeros
from .device.pixel_loss import (
    STATISTICS,
    Terms,
    rest_of_all,
    softmax_of_all,
    store_statistics,
    terms_of_class,
)
from .device.tiles import columns_inside, tile_of_program
from .device.views import (
    image_view,
    next_plane,
    next_row,
    offset,
    pixels,
    planes_back,
    with_lanes_of,
)
from .device.windows import (
    FOREGROUND_FLAG,
    FOREGROUND_TAP,
    VALID_FLAG,
    bests_of_plane,
    empty_windows,
    windows_with_plane,
)


@triton.jit
def add_terms_of_pixel(
    totals,
    logits,  # one for each class
    foregrounds,
    valid,
    AT: tl.constexpr,
    CLASSES: tl.constexpr,
    SOFTMAX: tl.constexpr,
    GAMMA: tl.constexpr,
):
    """Add a pixel's terms to the totals that begin at ``AT``.

    Each class has three totals, with sigmoid four.
    """
    PER_CLASS: tl.constexpr = 3 if SOFTMAX else 4
    largest = logits[0]
    total = logits[0]
    if SOFTMAX:
        largest, total = softmax_of_all(logits, CLASSES)
    rest = total
    if SOFTMAX and GAMMA != 0:
        rest = rest_of_all(logits, largest, CLASSES)
    added = totals[:AT]
    for k in tl.static_range(CLASSES):
        terms = terms_of_class(
            logits[k], foregrounds[k], largest, total, rest, valid, SOFTMAX, GAMMA
        )
        for field in tl.static_range(PER_CLASS):
            added = added + (totals[AT + k * PER_CLASS + field] + terms[field],)
    return added + totals[AT + CLASSES * PER_CLASS :]


@triton.jit(
    do_not_specialize=[
        "images", "programs", "outer", "middle", "inner", "chunk",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "gate_batch", "gate_outer", "gate_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def dice_ce_forward_march(
    logits,  # [CHANNELS, outer, middle, inner] of every image, by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    gate,  # likewise, HAS_GATE: 0 where a pixel keeps its own logit
    winners,  # out
    partials,  # out: [terms, STATISTICS, B, CHANNELS, programs], the penalized term first
    images,
    programs,  # number per image
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
    HAS_GATE: tl.constexpr,
    SOFTMAX: tl.constexpr,
    OF_UNPENALIZED: tl.constexpr,
    GAMMA: tl.constexpr,
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
    zero = zeros(LANES, DTYPE)
    tile = tile_of_program(
        CHANNELS, outer, middle, inner, chunk, CHANNELS, STRIP, BLOCK_ROWS, COLUMNS
    )
    column_inside = columns_inside(tile.column, inner, WINDOW_INNER)
    start = tl.maximum(tile.first - HALF_OUTER, 0)
    logits_strides = (logits_batch, logits_channel, logits_outer, logits_middle, logits_inner)
    target_strides = (target_batch, target_channel, target_outer, target_middle, target_inner)
    mask_strides = (mask_batch, 0, mask_outer, mask_middle, mask_inner)
    gate_strides = (gate_batch, 0, gate_outer, gate_middle, gate_inner)
    winners_strides = (winners_batch, winners_channel, winners_outer, winners_middle, winners_inner)
    logits = image_view(logits, logits_strides, tile, start, WIDE_OFFSETS)
    target = image_view(target, target_strides, tile, start, WIDE_OFFSETS)
    mask = image_view(mask, mask_strides, tile, start, WIDE_OFFSETS)
    gate = image_view(gate, gate_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    winners = image_view(winners, winners_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    winners = with_lanes_of(winners, logits, ONE_LAYOUT)

    ring, open_windows = empty_windows(LANES, DTYPE, RESULTS, HALF_OUTER)
    # [penalized or not, class, field]; counts are those of each class's pixels, then of valid ones.
    totals = (zero,) * (PER_CLASS * CHANNELS * (1 + OF_UNPENALIZED))
    counts = (tl.zeros([LANES], tl.int32),) * (CHANNELS + 1)
    for step in range(tile.end + HALF_OUTER - start):
        plane = start + step
        bests = bests_of_plane(
            logits, target, mask, tile.row, tl.where(plane < outer, middle, 0), column_inside,
            tile.channel, CHANNELS, first_class, ignore_index,
            TARGET_IS_MASKS, HAS_IGNORE_INDEX, HAS_MASK,
            WINDOW_MIDDLE, WINDOW_INNER, CHANNELS, STRIP,
        )  # fmt: skip
        windows, ring, open_windows = windows_with_plane(
            ring, open_windows, bests, LANES, DTYPE, RESULTS, HALF_OUTER, PLANE_TAPS
        )

        # The windows around the plane half a window back are complete.
        rows = tl.where(plane - HALF_OUTER >= tile.first, middle, 0)
        winners_row = winners
        gate_row = gate
        logits_row = planes_back(logits, HALF_OUTER)
        for result in tl.static_range(STRIP):
            here = (tile.row + result < rows) & (tile.column < inner)
            valid = here
            if HAS_IGNORE_INDEX or HAS_MASK:
                valid = here & ((windows[2 * result * CHANNELS + 1] & VALID_FLAG) != 0)
            penalizes = valid
            if HAS_GATE:
                penalizes &= tl.load(pixels(gate_row, 0, 0), mask=here, other=0) != 0
            penalized = ()
            foregrounds = ()
            for c in tl.static_range(CHANNELS):
                word = windows[2 * (result * CHANNELS + c) + 1]
                foreground = (word & FOREGROUND_FLAG) != 0
                logit = logit_of_key(windows[2 * (result * CHANNELS + c)], foreground, DTYPE)
                if HAS_GATE:
                    # Where the gate is 0, a pixel counts with its own logit.
                    keeps = valid & (penalizes == 0)
                    own = tl.load(pixels(logits_row, c, 0), mask=keeps, other=0)
                    logit = tl.where(penalizes, logit, own)
                penalized = penalized + (widened(logit),)
                foregrounds = foregrounds + (foreground,)
                tap = word & FOREGROUND_TAP
                if HAS_IGNORE_INDEX or HAS_MASK or HAS_GATE:
                    tap = tl.where(penalizes, tap, WINDOW_OUTER * PLANE_TAPS // 2)
                tl.store(
                    pixels(winners_row, c, 0),
                    tap.to(winners.pointer.dtype.element_ty),
                    mask=here,
                )
            totals = add_terms_of_pixel(
                totals, penalized, foregrounds, valid, 0, CHANNELS, SOFTMAX, GAMMA
            )
            if OF_UNPENALIZED:
                unpenalized = ()
                for c in tl.static_range(CHANNELS):
                    logit = tl.load(pixels(logits_row, c, 0), mask=here, other=0)
                    unpenalized = unpenalized + (widened(logit),)
                totals = add_terms_of_pixel(
                    totals,
                    unpenalized,
                    foregrounds,
                    valid,
                    PER_CLASS * CHANNELS,
                    CHANNELS,
                    SOFTMAX,
                    GAMMA,
                )
            counted = ()
            for c in tl.static_range(CHANNELS):
                counted = counted + (counts[c] + (foregrounds[c] & valid).to(tl.int32),)
            counts = counted + (counts[CHANNELS] + valid.to(tl.int32),)
            winners_row = next_row(winners_row)
            gate_row = next_row(gate_row)
            logits_row = next_row(logits_row)
        logits = next_plane(logits)
        target = next_plane(target)
        mask = next_plane(mask)
        gate = next_plane(gate)
        winners = next_plane(winners)

    field = offset(images * CHANNELS, programs)
    partials += offset(tile.batch * CHANNELS, programs) + tl.program_id(0) % programs
    for term in tl.static_range(1 + OF_UNPENALIZED):
        for c in tl.static_range(CHANNELS):
            of_class = totals[(term * CHANNELS + c) * PER_CLASS :]
            negative = zero
            if not SOFTMAX:
                negative = of_class[3]
            store_statistics(
                partials + c * programs,
                field,
                Terms(of_class[0], of_class[1], of_class[2], negative),
                counts[c],
                counts[CHANNELS],
            )
        partials += STATISTICS * field
