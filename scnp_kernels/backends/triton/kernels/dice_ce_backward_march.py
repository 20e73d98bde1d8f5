r"""Dice + cross entropy's gradient on the GPU, from the winners: march_scatter.py with gradients
that are not in memory.

    Where pixel i is the winner of pixel j, the penalized logit at j is i's own. What j sends is
    known without looking at other classes, once what they have in common at j is (class_terms.py):

      plane p      winner, common, label of j    row y-1, y, y+1
                                |
                   the own logit of the pixel that the winner's tap points to, one of those below:
                                |
      own logits, in registers                       p-1         p         p+1
                                |
                   gradient of j  -->  accumulators  p-1         p         p+1
                                                      |
      out: complete after plane p                     v
                               gradient of (p-1, y), and what its plain logit adds itself

Contributions arrive in raster order of the pixels that send them, as in march_scatter.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixel_loss import gradient_of_logit, load_sums_gradient
from .device.targets import is_foreground, load_target
from .device.tiles import (
    columns_inside,
    lane_offsets,
    offset,
    place_of_program,
    widened_stride,
)
from .scatter_march import add_to_winner


@triton.jit
def logit_at_winner(
    found,
    logit,
    tap,
    PLANE: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """``logit`` where the sender's tap points to it (see add_to_winner), else what was found."""
    if (DOWN >= 0) and (DOWN < WINDOW_MIDDLE):
        wanted: tl.constexpr = (PLANE * WINDOW_MIDDLE + DOWN) * WINDOW_INNER + ACROSS
        found = tl.where(tap == wanted, logit, found)
    return found


@triton.jit
def load_common(common, common_at, field, inside, zero, SOFTMAX: tl.constexpr):
    """(largest, inverse, pull) of the pixels, which sigmoid does not have."""
    result = (zero, zero, zero)
    if SOFTMAX:
        result = (
            tl.load(common + common_at, mask=inside, other=0),
            tl.load(common + field + common_at, mask=inside, other=0),
            tl.load(common + 2 * field + common_at, mask=inside, other=0),
        )
    return result


@triton.jit
def load_strip(
    logits,  # pointer to the plane
    logits_at,
    logits_channel,
    logits_middle,
    row,
    rows,  # of the plane: 0 where it is not in the image
    column_inside,
    channel,
    channels,
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
):
    """The own logits of the pixels of a strip, widened: one tensor for each (row, channel)."""
    strip = ()
    for result in tl.static_range(STRIP):
        for c in tl.static_range(CHANNELS):
            rows_of_channel = tl.where(channel + c < channels, rows, 0)
            logit = tl.load(
                logits + c * logits_channel + logits_at,
                mask=(row + result < rows_of_channel) & column_inside,
                other=0,
            )
            strip = strip + (widened(logit),)
        logits += logits_middle
    return strip


@triton.jit(
    do_not_specialize=[
        "images", "channels", "outer", "middle", "inner", "chunk",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def march_gradient(
    sums_gradient,  # [2, 6, B, channels], contiguous
    logits,  # [channels, outer, middle, inner] of every image, by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,
    common,  # of pixel_common: [terms, 3, B, outer, middle, inner]; read only if SOFTMAX
    logits_gradient,  # out
    images,
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
    ONE_LAYOUT: tl.constexpr,  # within a plane, everything has the strides of common
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: CHANNELS channels of ``chunk`` planes of a block of rows and columns."""
    HALF_OUTER: tl.constexpr = WINDOW_OUTER // 2
    HALF_MIDDLE: tl.constexpr = WINDOW_MIDDLE // 2
    RESULTS: tl.constexpr = CHANNELS * STRIP
    zero = zeros(BLOCK_ROWS * COLUMNS, logits.dtype.element_ty)
    image, channel, first, end, row, column = place_of_program(
        channels, outer, middle, inner, chunk, CHANNELS, STRIP, BLOCK_ROWS, COLUMNS
    )
    logits += offset(image, logits_batch) + offset(channel, logits_channel)
    target += offset(image, target_batch) + offset(channel, target_channel)
    mask += offset(image, mask_batch)
    winners += offset(image, winners_batch) + offset(channel, winners_channel)
    logits_gradient += offset(image, result_batch) + offset(channel, result_channel)
    common_middle = inner
    common_outer = offset(middle, inner)
    field = offset(images, outer) * common_outer
    common += offset(image, outer) * common_outer
    logits_middle = widened_stride(logits_middle, WIDE_OFFSETS)
    logits_inner = widened_stride(logits_inner, WIDE_OFFSETS)
    target_middle = widened_stride(target_middle, WIDE_OFFSETS)
    target_inner = widened_stride(target_inner, WIDE_OFFSETS)
    mask_middle = widened_stride(mask_middle, WIDE_OFFSETS)
    mask_inner = widened_stride(mask_inner, WIDE_OFFSETS)
    winners_middle = widened_stride(winners_middle, WIDE_OFFSETS)
    winners_inner = widened_stride(winners_inner, WIDE_OFFSETS)
    result_middle = widened_stride(result_middle, WIDE_OFFSETS)
    common_middle = widened_stride(common_middle, WIDE_OFFSETS)
    common_at = lane_offsets(row, column, common_middle, 1, WIDE_OFFSETS)
    logits_at = common_at
    target_at = common_at
    mask_at = common_at
    winners_at = common_at
    result_at = common_at
    if not ONE_LAYOUT:
        logits_at = lane_offsets(row, column, logits_middle, logits_inner, WIDE_OFFSETS)
        target_at = lane_offsets(row, column, target_middle, target_inner, WIDE_OFFSETS)
        mask_at = lane_offsets(row, column, mask_middle, mask_inner, WIDE_OFFSETS)
        winners_at = lane_offsets(row, column, winners_middle, winners_inner, WIDE_OFFSETS)
        result_at = lane_offsets(row, column, result_middle, result_inner, WIDE_OFFSETS)
    column_inside = columns_inside(column, inner, WINDOW_INNER)
    gradients = ()  # of each channel: four of the penalized term, four of the plain one
    for c in tl.static_range(CHANNELS):
        for term in tl.static_range(2):
            gradients = gradients + load_sums_gradient(
                sums_gradient, term, image, channel + c, images, channels, zero.dtype
            )

    sums = (zero,) * (RESULTS * WINDOW_OUTER)  # [plane, row of the strip, channel]
    start = tl.maximum(first - HALF_OUTER, 0)
    # Pointers walk along with the march, for the sake of registers: see march_forward.py.
    logits += offset(start - HALF_OUTER, logits_outer)
    target += offset(start, target_outer)
    mask += offset(start, mask_outer)
    winners += offset(start, winners_outer)
    common += offset(start, common_outer)
    logits_gradient += offset(start - HALF_OUTER, result_outer)
    own = ()  # own logits, in the order of the sums
    for ahead in tl.static_range(2 * HALF_OUTER):
        plane = start + (ahead - HALF_OUTER)
        rows = tl.where((plane >= first) & (plane < outer), middle, 0)
        own = own + load_strip(
            logits, logits_at, logits_channel, logits_middle, row, rows, column < inner,
            channel, channels, CHANNELS, STRIP,
        )  # fmt: skip
        logits += logits_outer
    for step in range(end + HALF_OUTER - start):
        plane = start + step
        reached = own + load_strip(
            logits, logits_at, logits_channel, logits_middle, row,
            tl.where(plane + HALF_OUTER < outer, middle, 0), column < inner,
            channel, channels, CHANNELS, STRIP,
        )  # fmt: skip
        rows_of_plane = tl.where(plane < outer, middle, 0)
        target_row = target - HALF_MIDDLE * target_middle
        mask_row = mask - HALF_MIDDLE * mask_middle
        winners_row = winners - HALF_MIDDLE * winners_middle
        common_row = common - HALF_MIDDLE * common_middle
        for source in tl.static_range(STRIP + 2 * HALF_MIDDLE):
            # `row + (source - HALF_MIDDLE)` is the row that is read.
            row_inside = row + (source - HALF_MIDDLE) >= 0
            for sender in tl.static_range(WINDOW_INNER):
                inside = row_inside & (row + (source - HALF_MIDDLE) < rows_of_plane)
                inside = inside & column_inside[sender]
                value, usable = load_target(
                    target_row + (sender - WINDOW_INNER // 2) * target_inner,
                    target_at,
                    mask_row + (sender - WINDOW_INNER // 2) * mask_inner,
                    mask_at,
                    inside,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                of_sender = load_common(
                    common_row + (sender - WINDOW_INNER // 2),
                    common_at,
                    field,
                    inside,
                    zero,
                    SOFTMAX,
                )
                for c in tl.static_range(CHANNELS):
                    # The last group of channels may be incomplete: nothing there is stored.
                    rows = tl.where(channel + c < channels, rows_of_plane, 0)
                    inside = row_inside & (row + (source - HALF_MIDDLE) < rows)
                    inside = inside & column_inside[sender]
                    tap = tl.load(
                        winners_row
                        + c * winners_channel
                        + (sender - WINDOW_INNER // 2) * winners_inner
                        + winners_at,
                        mask=inside,
                        other=0,
                    ).to(tl.int32)
                    if TARGET_IS_MASKS and c > 0:
                        value = tl.load(
                            target_row
                            + c * target_channel
                            + (sender - WINDOW_INNER // 2) * target_inner
                            + target_at,
                            mask=inside,
                            other=0,
                        )
                    foreground = is_foreground(value, first_class + channel + c, TARGET_IS_MASKS)
                    logit = zero
                    for plane_to in tl.static_range(WINDOW_OUTER):
                        for result in tl.static_range(STRIP):
                            logit = logit_at_winner(
                                logit,
                                reached[plane_to * RESULTS + result * CHANNELS + c],
                                tap,
                                plane_to,
                                result - source + 2 * HALF_MIDDLE,
                                WINDOW_INNER - 1 - sender,
                                WINDOW_MIDDLE,
                                WINDOW_INNER,
                            )
                    gradient = gradient_of_logit(
                        logit, foreground, gradients[8 * c :], of_sender, SOFTMAX
                    )
                    # What is outside of the image or invalid sends zero, whatever its winner.
                    gradient = tl.where(usable, gradient, 0.0)
                    for plane_to in tl.static_range(WINDOW_OUTER):
                        for result in tl.static_range(STRIP):
                            sums = add_to_winner(
                                sums,
                                plane_to * RESULTS + result * CHANNELS + c,
                                gradient,
                                tap,
                                plane_to,
                                result - source + 2 * HALF_MIDDLE,
                                WINDOW_INNER - 1 - sender,
                                WINDOW_MIDDLE,
                                WINDOW_INNER,
                            )
            target_row += target_middle
            mask_row += mask_middle
            winners_row += winners_middle
            common_row += common_middle

        # The window of the plane half a window back is complete.
        result_row = logits_gradient
        target_row = target - HALF_OUTER * target_outer.to(tl.int64)
        mask_row = mask - HALF_OUTER * mask_outer.to(tl.int64)
        common_row = common + 3 * field - HALF_OUTER * common_outer
        rows = tl.where(plane - HALF_OUTER >= first, middle, 0)
        for result in tl.static_range(STRIP):
            write = (row + result < rows) & (column < inner)
            common_here = (zero, zero, zero)
            value = write
            usable = write
            if OF_PLAIN:
                value, usable = load_target(
                    target_row,
                    target_at,
                    mask_row,
                    mask_at,
                    write,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                common_here = load_common(common_row, common_at, field, write, zero, SOFTMAX)
            for c in tl.static_range(CHANNELS):
                write = (row + result < tl.where(channel + c < channels, rows, 0)) & (
                    column < inner
                )
                total = sums[result * CHANNELS + c]
                if OF_PLAIN:
                    if TARGET_IS_MASKS and c > 0:
                        value = tl.load(
                            target_row + c * target_channel + target_at, mask=write, other=0
                        )
                    foreground = is_foreground(value, first_class + channel + c, TARGET_IS_MASKS)
                    gradient = gradient_of_logit(
                        reached[result * CHANNELS + c],
                        foreground,
                        gradients[8 * c + 4 :],
                        common_here,
                        SOFTMAX,
                    )
                    total += tl.where(usable, gradient, 0.0)
                tl.store(
                    result_row + c * result_channel + result_at,
                    total.to(logits_gradient.dtype.element_ty),
                    mask=write,
                )
            result_row += result_middle
            target_row += target_middle
            mask_row += mask_middle
            common_row += common_middle
        sums = sums[RESULTS:] + (zero,) * RESULTS
        own = reached[RESULTS:]
        logits += logits_outer
        target += target_outer
        mask += mask_outer
        winners += winners_outer
        common += common_outer
        logits_gradient += result_outer
