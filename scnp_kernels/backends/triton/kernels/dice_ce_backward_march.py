r"""Dice + cross entropy's gradient on the GPU, from the winners.

This is scatter_march.py with gradients that are not in memory.

    Where pixel i is the winner of pixel j, the penalized logit at j is i's logit. What j sends is
    known without looking at other classes, once what they have in common at j is (pixel_loss.py):

      plane p      winner, common, label of j    row y-1, y, y+1
                                |
                   the logit of the pixel that the winner's tap points to, one of those below:
                                |
      logits, in registers                           p-1         p         p+1
                                |
                   gradient of j  -->  accumulators  p-1         p         p+1
                                                      |
      out: complete after plane p                     v
                               gradient of (p-1, y), plus that of its unpenalized logit

Contributions arrive in raster order of the pixels that send them, as in scatter_march.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixel_loss import (
    ENTROPY_PARTS,
    FOCAL_PARTS,
    Common,
    gradient_of_logit,
    load_common,
    load_gradients,
    terms_at,
)
from .device.targets import is_foreground, load_target
from .device.tiles import columns_inside, tile_of_program
from .device.views import (
    at_pointer,
    image_view,
    next_plane,
    next_row,
    offset,
    pixels,
    planes_back,
    rows_back,
    with_lanes_of,
)
from .device.winners import add_to_winner, logit_at_winner


@triton.jit
def load_strip(
    logits,  # view of the plane
    row,
    rows,  # number per plane, 0 where the plane is not in the image
    column_inside,
    channel,
    channels,
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
):
    """Return the logits of the pixels of a strip, widened: a tensor for each (row, channel)."""
    strip = ()
    for result in tl.static_range(STRIP):
        for c in tl.static_range(CHANNELS):
            rows_of_channel = tl.where(channel + c < channels, rows, 0)
            logit = tl.load(
                pixels(logits, c, 0),
                mask=(row + result < rows_of_channel) & column_inside,
                other=0,
            )
            strip = strip + (widened(logit),)
        logits = next_row(logits)
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
def dice_ce_backward_march(
    statistics_gradient,  # [2, STATISTICS, B, channels], contiguous
    logits,  # [channels, outer, middle, inner] of every image, by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,
    common,  # [terms, parts, B, outer, middle, inner]; read only if SOFTMAX
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
    OF_UNPENALIZED: tl.constexpr,
    GAMMA: tl.constexpr,
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
    PARTS: tl.constexpr = FOCAL_PARTS if GAMMA != 0 else ENTROPY_PARTS
    zero = zeros(BLOCK_ROWS * COLUMNS, logits.dtype.element_ty)
    tile = tile_of_program(
        channels, outer, middle, inner, chunk, CHANNELS, STRIP, BLOCK_ROWS, COLUMNS
    )
    column_inside = columns_inside(tile.column, inner, WINDOW_INNER)
    start = tl.maximum(tile.first - HALF_OUTER, 0)
    plane_size = offset(middle, inner)
    field = offset(images, outer) * plane_size  # stride from part to part of common
    common += offset(tile.batch, outer) * plane_size
    common_strides = (0, 0, plane_size, inner, 1)  # the pointer is at the image
    logits_strides = (logits_batch, logits_channel, logits_outer, logits_middle, logits_inner)
    target_strides = (target_batch, target_channel, target_outer, target_middle, target_inner)
    mask_strides = (mask_batch, 0, mask_outer, mask_middle, mask_inner)
    winners_strides = (winners_batch, winners_channel, winners_outer, winners_middle, winners_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    common = image_view(common, common_strides, tile, start, WIDE_OFFSETS)
    target = image_view(target, target_strides, tile, start, WIDE_OFFSETS)
    target = with_lanes_of(target, common, ONE_LAYOUT)
    mask = image_view(mask, mask_strides, tile, start, WIDE_OFFSETS)
    mask = with_lanes_of(mask, common, ONE_LAYOUT)
    winners = image_view(winners, winners_strides, tile, start, WIDE_OFFSETS)
    winners = with_lanes_of(winners, common, ONE_LAYOUT)
    logits = image_view(logits, logits_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    logits = with_lanes_of(logits, common, ONE_LAYOUT)
    result = image_view(logits_gradient, result_strides, tile, start - HALF_OUTER, WIDE_OFFSETS)
    result = with_lanes_of(result, common, ONE_LAYOUT)
    gradients = ()  # four per channel for the penalized logits, then four for the unpenalized ones
    for c in tl.static_range(CHANNELS):
        for term in tl.static_range(2):
            gradients = gradients + load_gradients(
                statistics_gradient,
                term,
                tile.batch,
                tile.channel + c,
                images,
                channels,
                zero.dtype,
            )

    accumulators = (zero,) * (RESULTS * WINDOW_OUTER)  # [plane, row of the strip, channel]
    own = ()  # the logits of the same pixels, but for the plane that the next step adds
    for ahead in tl.static_range(2 * HALF_OUTER):
        plane = start + (ahead - HALF_OUTER)
        rows = tl.where((plane >= tile.first) & (plane < outer), middle, 0)
        own = own + load_strip(
            logits, tile.row, rows, tile.column < inner, tile.channel, channels, CHANNELS, STRIP
        )
        logits = next_plane(logits)
    for step in range(tile.end + HALF_OUTER - start):
        plane = start + step
        rows = tl.where(plane + HALF_OUTER < outer, middle, 0)
        reached = own + load_strip(
            logits, tile.row, rows, tile.column < inner, tile.channel, channels, CHANNELS, STRIP
        )
        rows_of_plane = tl.where(plane < outer, middle, 0)
        target_row = rows_back(target, HALF_MIDDLE)
        mask_row = rows_back(mask, HALF_MIDDLE)
        winners_row = rows_back(winners, HALF_MIDDLE)
        common_row = rows_back(common, HALF_MIDDLE)
        for source in tl.static_range(STRIP + 2 * HALF_MIDDLE):
            # `tile.row + (source - HALF_MIDDLE)` is the row that is read.
            row_inside = tile.row + (source - HALF_MIDDLE) >= 0
            for sender in tl.static_range(WINDOW_INNER):
                inside = row_inside & (tile.row + (source - HALF_MIDDLE) < rows_of_plane)
                inside = inside & column_inside[sender]
                value, usable = load_target(
                    pixels(target_row, 0, sender - WINDOW_INNER // 2),
                    pixels(mask_row, 0, sender - WINDOW_INNER // 2),
                    inside,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                of_sender = load_common(
                    pixels(common_row, 0, sender - WINDOW_INNER // 2),
                    field,
                    inside,
                    zero,
                    SOFTMAX,
                    GAMMA,
                )
                for c in tl.static_range(CHANNELS):
                    # The last group of channels may be incomplete: nothing there is stored.
                    rows = tl.where(tile.channel + c < channels, rows_of_plane, 0)
                    inside = row_inside & (tile.row + (source - HALF_MIDDLE) < rows)
                    inside = inside & column_inside[sender]
                    tap = tl.load(
                        pixels(winners_row, c, sender - WINDOW_INNER // 2), mask=inside, other=0
                    ).to(tl.int32)
                    if TARGET_IS_MASKS and c > 0:
                        value = tl.load(
                            pixels(target_row, c, sender - WINDOW_INNER // 2), mask=inside, other=0
                        )
                    foreground = is_foreground(
                        value, first_class + tile.channel + c, TARGET_IS_MASKS
                    )
                    logit = zero
                    for plane_to in tl.static_range(WINDOW_OUTER):
                        for row_to in tl.static_range(STRIP):
                            logit = logit_at_winner(
                                logit,
                                reached[plane_to * RESULTS + row_to * CHANNELS + c],
                                tap,
                                plane_to,
                                row_to - source + 2 * HALF_MIDDLE,
                                WINDOW_INNER - 1 - sender,
                                WINDOW_MIDDLE,
                                WINDOW_INNER,
                            )
                    gradient = gradient_of_logit(
                        logit, foreground, terms_at(gradients, 8 * c), of_sender, SOFTMAX, GAMMA
                    )
                    # A sender outside of the image or invalid sends zero, whatever its winner.
                    gradient = tl.where(usable, gradient, 0.0)
                    for plane_to in tl.static_range(WINDOW_OUTER):
                        for row_to in tl.static_range(STRIP):
                            accumulators = add_to_winner(
                                accumulators,
                                plane_to * RESULTS + row_to * CHANNELS + c,
                                gradient,
                                tap,
                                plane_to,
                                row_to - source + 2 * HALF_MIDDLE,
                                WINDOW_INNER - 1 - sender,
                                WINDOW_MIDDLE,
                                WINDOW_INNER,
                            )
            target_row = next_row(target_row)
            mask_row = next_row(mask_row)
            winners_row = next_row(winners_row)
            common_row = next_row(common_row)

        # The accumulators of the plane half a window back are complete.
        result_row = result
        target_row = planes_back(target, HALF_OUTER)
        mask_row = planes_back(mask, HALF_OUTER)
        common_row = planes_back(common, HALF_OUTER)
        common_row = at_pointer(common_row, common_row.pointer + PARTS * field)
        rows = tl.where(plane - HALF_OUTER >= tile.first, middle, 0)
        for row_to in tl.static_range(STRIP):
            write = (tile.row + row_to < rows) & (tile.column < inner)
            common_here = Common(zero, zero, zero, zero)
            value = write
            usable = write
            if OF_UNPENALIZED:
                value, usable = load_target(
                    pixels(target_row, 0, 0),
                    pixels(mask_row, 0, 0),
                    write,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                common_here = load_common(
                    pixels(common_row, 0, 0), field, write, zero, SOFTMAX, GAMMA
                )
            for c in tl.static_range(CHANNELS):
                write = tile.row + row_to < tl.where(tile.channel + c < channels, rows, 0)
                write = write & (tile.column < inner)
                total = accumulators[row_to * CHANNELS + c]
                if OF_UNPENALIZED:
                    if TARGET_IS_MASKS and c > 0:
                        value = tl.load(pixels(target_row, c, 0), mask=write, other=0)
                    foreground = is_foreground(
                        value, first_class + tile.channel + c, TARGET_IS_MASKS
                    )
                    logit = reached[row_to * CHANNELS + c]
                    gradient = gradient_of_logit(
                        logit,
                        foreground,
                        terms_at(gradients, 8 * c + 4),
                        common_here,
                        SOFTMAX,
                        GAMMA,
                    )
                    total += tl.where(usable, gradient, 0.0)
                tl.store(
                    pixels(result_row, c, 0),
                    total.to(logits_gradient.dtype.element_ty),
                    mask=write,
                )
            result_row = next_row(result_row)
            target_row = next_row(target_row)
            mask_row = next_row(mask_row)
            common_row = next_row(common_row)
        accumulators = accumulators[RESULTS:] + (zero,) * RESULTS
        own = reached[RESULTS:]
        logits = next_plane(logits)
        target = next_plane(target)
        mask = next_plane(mask)
        winners = next_plane(winners)
        common = next_plane(common)
        result = next_plane(result)
