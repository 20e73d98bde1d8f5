r"""Dice + cross entropy, a block of pixels a program, for any number of classes and any window.

    pixel_sums        forward, from the winners: what every class of the block adds to the sums

                        class 0  1  2 ...      first pass: largest logit, sum of exp
                        class 0  1  2 ...      second: its terms, summed over the block's pixels

    pixel_common      backward, first half: what the classes of a pixel have in common, for whoever
                      sends its gradients to its winners
    pixel_gradient    backward of the plain logits alone, which send to nobody else

Both passes read the same logits, the second finds them in the cache. Sums over a block are sums of
float32 in a tree, and the host adds the blocks up in float64: always in the same order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixel_loss import (
    add_class,
    gradient_of_logit,
    gradient_of_probability,
    load_sums_gradient,
    no_classes,
    terms_of_class,
    total_of_all,
)
from .device.targets import is_foreground, load_target
from .device.tiles import offset
from .device.winners import load_logit, offset_of_place, pixels_of_block


@triton.jit
def foreground_of_class(
    target,  # pointer to the channel's image
    target_at,
    here,
    value,  # of load_target, for label maps
    label,
    TARGET_IS_MASKS: tl.constexpr,
):
    """[LANES] bool: is the pixel of the class? Each class has a mask of its own to look at."""
    if TARGET_IS_MASKS:
        value = tl.load(target + target_at, mask=here, other=0)
    return is_foreground(value, label, TARGET_IS_MASKS)


@triton.jit
def store_sums(
    partials,  # pointer to the block's entry of field 0 of the class
    field,  # from field to field
    terms,  # of terms_of_class
    foreground,
    valid,
):
    """What the block adds to a class, in the order of dice_ce.Sums."""
    DTYPE: tl.constexpr = partials.dtype.element_ty
    tl.store(partials, tl.sum(terms[0], 0))
    tl.store(partials + field, tl.sum(terms[1], 0))
    tl.store(partials + 2 * field, tl.sum((foreground & valid).to(tl.int32), 0).to(DTYPE))
    tl.store(partials + 3 * field, tl.sum(terms[2], 0))
    tl.store(partials + 4 * field, tl.sum(terms[3], 0))
    tl.store(partials + 5 * field, tl.sum(valid.to(tl.int32), 0).to(DTYPE))


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
def pixel_sums(
    logits,  # [B, channels, outer, middle, inner], by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,  # never read without OF_PENALIZED
    partials,  # out: [terms, 6, B, channels, blocks], the penalized term first
    images,
    blocks,  # of an image
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
    OF_PLAIN: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one image, every class."""
    DTYPE: tl.constexpr = partials.dtype.element_ty
    image, block, number, place = pixels_of_block(blocks, middle, inner, LANES, WIDE_OFFSETS)
    sizes = (outer, middle, inner)
    here = number < outer.to(number.dtype) * middle * inner
    logits_strides = (logits_outer, logits_middle, logits_inner)
    winners_strides = (winners_outer, winners_middle, winners_inner)
    logits += offset(image, logits_batch)
    winners += offset(image, winners_batch)
    target += offset(image, target_batch)
    target_at = offset_of_place(place, (target_outer, target_middle, target_inner))
    value, valid = load_target(
        target,
        target_at,
        mask + offset(image, mask_batch),
        offset_of_place(place, (mask_outer, mask_middle, mask_inner)),
        here,
        ignore_index,
        HAS_IGNORE_INDEX,
        HAS_MASK,
    )
    field = offset(images * channels, blocks)
    partials += offset(image * channels, blocks) + block
    for term in tl.static_range(2):
        if ((term == 0) and OF_PENALIZED) or ((term == 1) and OF_PLAIN):
            largest, total = no_classes(LANES, DTYPE)
            if SOFTMAX:
                logits_k = logits
                winners_k = winners
                for _k in range(channels):
                    logit = load_logit(
                        logits_k, winners_k, place, here, sizes, logits_strides, winners_strides,
                        term == 0, WINDOW_OUTER, WINDOW_MIDDLE, WINDOW_INNER,
                    )  # fmt: skip
                    largest, total, _factor, _power = add_class(largest, total, logit)
                    logits_k += logits_channel
                    winners_k += winners_channel
                total = total_of_all(largest, total)
            logits_k = logits
            winners_k = winners
            target_k = target
            partials_k = partials
            for k in range(channels):
                logit = load_logit(
                    logits_k, winners_k, place, here, sizes, logits_strides, winners_strides,
                    term == 0, WINDOW_OUTER, WINDOW_MIDDLE, WINDOW_INNER,
                )  # fmt: skip
                foreground = foreground_of_class(
                    target_k, target_at, here, value, first_class + k, TARGET_IS_MASKS
                )
                terms = terms_of_class(logit, foreground, largest, total, valid, SOFTMAX)
                store_sums(partials_k, field, terms, foreground, valid)
                logits_k += logits_channel
                winners_k += winners_channel
                target_k += target_channel
                partials_k += blocks
            partials += 6 * field


@triton.jit
def common_of_pixels(
    logits,  # pointers to the image's first channel
    winners,
    target,
    target_at,
    value,  # of load_target
    place,
    here,
    sizes,
    logits_strides,
    logits_channel,
    winners_strides,
    winners_channel,
    target_channel,
    sums_gradient,
    term,
    image,
    images,
    channels,
    first_class,
    TARGET_IS_MASKS: tl.constexpr,
    PENALIZED: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    LANES: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """(largest, inverse, pull) of softmax, in one pass through the classes."""
    largest, total = no_classes(LANES, DTYPE)
    of_probabilities = tl.zeros([LANES], DTYPE)  # sum of exp(logit - largest) * a
    of_positive = tl.zeros([LANES], DTYPE)
    for k in range(channels):
        logit = load_logit(
            logits, winners, place, here, sizes, logits_strides, winners_strides,
            PENALIZED, WINDOW_OUTER, WINDOW_MIDDLE, WINDOW_INNER,
        )  # fmt: skip
        foreground = foreground_of_class(
            target, target_at, here, value, first_class + k, TARGET_IS_MASKS
        )
        gradients = load_sums_gradient(sums_gradient, term, image, k, images, channels, DTYPE)
        largest, total, factor, power = add_class(largest, total, logit)
        of_probability = gradient_of_probability(foreground, gradients)
        of_probabilities = of_probabilities * factor + power * of_probability
        of_positive += tl.where(foreground, gradients[2], 0.0)
        logits += logits_channel
        winners += winners_channel
        target += target_channel
    inverse = 1.0 / total_of_all(largest, total)
    return largest, inverse, of_positive - of_probabilities * inverse


@triton.jit(
    do_not_specialize=[
        "images", "blocks", "channels", "outer", "middle", "inner",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "first_class",
    ]
)  # fmt: skip
def pixel_common(
    sums_gradient,  # [2, 6, B, channels], contiguous
    logits,
    target,
    winners,
    common,  # out: [terms, 3, B, pixels of an image], the penalized term first
    images,
    blocks,
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
    winners_batch,
    winners_channel,
    winners_outer,
    winners_middle,
    winners_inner,
    first_class,
    TARGET_IS_MASKS: tl.constexpr,
    OF_PLAIN: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one image. What it finds of invalid pixels nobody uses."""
    DTYPE: tl.constexpr = common.dtype.element_ty
    image, _block, number, place = pixels_of_block(blocks, middle, inner, LANES, WIDE_OFFSETS)
    sizes = (outer, middle, inner)
    pixels = outer.to(number.dtype) * middle * inner
    here = number < pixels
    logits += offset(image, logits_batch)
    winners += offset(image, winners_batch)
    target += offset(image, target_batch)
    target_at = offset_of_place(place, (target_outer, target_middle, target_inner))
    value = tl.load(target + target_at, mask=here, other=0)
    field = offset(images, pixels)
    common += offset(image, pixels)
    for term in tl.static_range(2):
        if (term == 0) or OF_PLAIN:
            found = common_of_pixels(
                logits, winners, target, target_at, value, place, here, sizes,
                (logits_outer, logits_middle, logits_inner), logits_channel,
                (winners_outer, winners_middle, winners_inner), winners_channel, target_channel,
                sums_gradient, term, image, images, channels, first_class, TARGET_IS_MASKS,
                term == 0, WINDOW_OUTER, WINDOW_MIDDLE, WINDOW_INNER, LANES, DTYPE,
            )  # fmt: skip
            for part in tl.static_range(3):
                tl.store(common + number, found[part], mask=here)
                common += field


@triton.jit(
    do_not_specialize=[
        "images", "blocks", "channels", "outer", "middle", "inner",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def pixel_gradient(
    sums_gradient,  # [2, 6, B, channels], contiguous
    logits,
    target,
    mask,
    logits_gradient,  # out
    images,
    blocks,
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
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one image, of the plain logits."""
    zero = zeros(LANES, logits.dtype.element_ty)
    DTYPE: tl.constexpr = zero.dtype
    image, _block, number, place = pixels_of_block(blocks, middle, inner, LANES, WIDE_OFFSETS)
    here = number < outer.to(number.dtype) * middle * inner
    logits += offset(image, logits_batch)
    target += offset(image, target_batch)
    logits_gradient += offset(image, result_batch)
    logits_strides = (logits_outer, logits_middle, logits_inner)
    logits_at = offset_of_place(place, logits_strides)
    target_at = offset_of_place(place, (target_outer, target_middle, target_inner))
    result_at = offset_of_place(place, (result_outer, result_middle, result_inner))
    value, valid = load_target(
        target,
        target_at,
        mask + offset(image, mask_batch),
        offset_of_place(place, (mask_outer, mask_middle, mask_inner)),
        here,
        ignore_index,
        HAS_IGNORE_INDEX,
        HAS_MASK,
    )
    common = (zero, zero, zero)
    if SOFTMAX:
        common = common_of_pixels(
            logits, logits, target, target_at, value, place, here, (outer, middle, inner),
            logits_strides, logits_channel, logits_strides, logits_channel, target_channel,
            sums_gradient, 1, image, images, channels, first_class, TARGET_IS_MASKS,
            False, 1, 1, 1, LANES, DTYPE,
        )  # fmt: skip
    for k in range(channels):
        logit = widened(tl.load(logits + logits_at, mask=here, other=0))
        foreground = foreground_of_class(
            target, target_at, here, value, first_class + k, TARGET_IS_MASKS
        )
        gradients = load_sums_gradient(sums_gradient, 1, image, k, images, channels, DTYPE)
        gradient = gradient_of_logit(logit, foreground, gradients, common, SOFTMAX)
        gradient = tl.where(valid, gradient, 0.0).to(logits_gradient.dtype.element_ty)
        tl.store(logits_gradient + result_at, gradient, mask=here)
        logits += logits_channel
        target += target_channel
        logits_gradient += result_channel
