"""Dice + cross entropy's statistics on the GPU from the winners, for any number of classes.

    A program takes a block of pixels through all classes, in loops that are not unrolled:

      class 0  1  2 ...      first pass: largest logit, sum of exp
      class 0  1  2 ...      second: its terms, summed over the block's pixels

Both passes read the same logits, the second out of the cache. A block is summed in float32, in a
tree, and the host adds up the blocks in float64, always in the same order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.pixel_loss import (
    STATISTICS,
    add_class,
    no_classes,
    rest_with_class,
    store_statistics,
    terms_of_class,
    total_of_all,
)
from .device.pixels import offset_in_image, pixels_of_image
from .device.targets import foreground_of_class, load_target
from .device.views import offset
from .device.winners import load_logit


@triton.jit(
    do_not_specialize=[
        "images", "blocks", "channels", "outer", "middle", "inner",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def dice_ce_forward_pixels(
    logits,  # [B, channels, outer, middle, inner], by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,  # never read without OF_PENALIZED
    partials,  # out: [terms, STATISTICS, B, channels, blocks], the penalized term first
    images,
    blocks,  # number per image
    channels,
    outer,
    middle,
    inner,
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
    OF_PENALIZED: tl.constexpr,
    OF_UNPENALIZED: tl.constexpr,
    GAMMA: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one image, every class."""
    DTYPE: tl.constexpr = partials.dtype.element_ty
    image, block, number, pixel = pixels_of_image(blocks, middle, inner, LANES, WIDE_OFFSETS)
    sizes = (outer, middle, inner)
    window = (WINDOW_OUTER, WINDOW_MIDDLE, WINDOW_INNER)
    here = number < outer.to(number.dtype) * middle * inner
    logits_strides = (logits_outer, logits_middle, logits_inner)
    winners_strides = (winners_outer, winners_middle, winners_inner)
    logits += offset(image, logits_batch)
    winners += offset(image, winners_batch)
    target += offset(image, target_batch)
    mask += offset(image, mask_batch)
    target_at = offset_in_image(pixel, (target_outer, target_middle, target_inner))
    mask_at = offset_in_image(pixel, (mask_outer, mask_middle, mask_inner))
    value, valid = load_target(
        target + target_at, mask + mask_at, here, ignore_index, HAS_IGNORE_INDEX, HAS_MASK
    )
    field = offset(images * channels, blocks)
    partials += offset(image * channels, blocks) + block
    for term in tl.static_range(2):
        if ((term == 0) and OF_PENALIZED) or ((term == 1) and OF_UNPENALIZED):
            largest, total = no_classes(LANES, DTYPE)
            rest = total
            if SOFTMAX:
                logits_k = logits
                winners_k = winners
                for _k in range(channels):
                    logit = load_logit(
                        logits_k, winners_k, pixel, here, sizes, window,
                        logits_strides, winners_strides, term == 0,
                    )  # fmt: skip
                    most, more, factor, power = add_class(largest, total, logit)
                    if GAMMA != 0:
                        rest = rest_with_class(rest, largest, total, logit, factor, power)
                    largest, total = most, more
                    logits_k += logits_channel
                    winners_k += winners_channel
                total = total_of_all(largest, total)
                rest = total_of_all(largest, rest)
            logits_k = logits
            winners_k = winners
            target_k = target
            partials_k = partials
            for k in range(channels):
                logit = load_logit(
                    logits_k, winners_k, pixel, here, sizes, window,
                    logits_strides, winners_strides, term == 0,
                )  # fmt: skip
                foreground = foreground_of_class(
                    target_k + target_at, here, value, first_class + k, TARGET_IS_MASKS
                )
                terms = terms_of_class(
                    logit, foreground, largest, total, rest, valid, SOFTMAX, GAMMA
                )
                store_statistics(
                    partials_k,
                    field,
                    terms,
                    (foreground & valid).to(tl.int32),
                    valid.to(tl.int32),
                )
                logits_k += logits_channel
                winners_k += winners_channel
                target_k += target_channel
                partials_k += blocks
            partials += STATISTICS * field
