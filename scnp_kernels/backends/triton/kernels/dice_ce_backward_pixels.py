"""Dice + cross entropy's gradient on the GPU: what looks at all classes of a pixel.

    dice_ce_backward_common        what the classes of a pixel have in common, for the kernels that
                                   then send the gradients of the pixel to its winners
    dice_ce_backward_unpenalized   the gradient of the unpenalized logits alone, which stays at the
                                   pixel

A program takes a block of pixels through all classes, in loops that are not unrolled: any number of
classes, any window.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixel_loss import (
    ENTROPY_PARTS,
    FOCAL_PARTS,
    Common,
    add_class,
    focal_of_softmax,
    gradient_of_logit,
    gradient_of_probability,
    load_gradients,
    no_classes,
    rest_with_class,
    total_of_all,
)
from .device.pixels import offset_in_image, pixels_of_image
from .device.targets import foreground_of_class, load_target
from .device.views import offset
from .device.winners import load_logit


@triton.jit
def common_of_pixels(
    logits,  # pointers to the image's first channel
    winners,
    target,
    target_at,  # [LANES] offsets of the pixels from there
    value,  # from load_target
    pixel,
    here,
    sizes,
    window,
    logits_strides,
    logits_channel,
    winners_strides,
    winners_channel,
    target_channel,
    statistics_gradient,
    term,
    image,
    images,
    channels,
    first_class,
    TARGET_IS_MASKS: tl.constexpr,
    PENALIZED: tl.constexpr,
    GAMMA: tl.constexpr,
    LANES: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Return softmax's :class:`Common` of the pixels, in one pass through the classes.

    With GAMMA it takes two: how cross entropy is modulated is known at the end of the first.
    """
    largest, total = no_classes(LANES, DTYPE)
    rest = total
    first_logits = logits
    first_winners = winners
    first_target = target
    of_probabilities = tl.zeros([LANES], DTYPE)  # sum of exp(logit - largest) * a
    of_positive = tl.zeros([LANES], DTYPE)
    for k in range(channels):
        logit = load_logit(
            logits, winners, pixel, here, sizes, window, logits_strides, winners_strides, PENALIZED
        )
        foreground = foreground_of_class(
            target + target_at, here, value, first_class + k, TARGET_IS_MASKS
        )
        gradients = load_gradients(statistics_gradient, term, image, k, images, channels, DTYPE)
        most, more, factor, power = add_class(largest, total, logit)
        if GAMMA != 0:
            rest = rest_with_class(rest, largest, total, logit, factor, power)
        largest, total = most, more
        of_probability = gradient_of_probability(foreground, gradients)
        of_probabilities = of_probabilities * factor + power * of_probability
        of_positive += tl.where(foreground, gradients.positive, 0.0)
        logits += logits_channel
        winners += winners_channel
        target += target_channel
    inverse = 1.0 / total_of_all(largest, total)
    rest = total_of_all(largest, rest)
    if GAMMA != 0:
        of_positive = tl.zeros([LANES], DTYPE)
        for k in range(channels):
            logit = load_logit(
                first_logits, first_winners, pixel, here, sizes, window,
                logits_strides, winners_strides, PENALIZED,
            )  # fmt: skip
            foreground = foreground_of_class(
                first_target + target_at, here, value, first_class + k, TARGET_IS_MASKS
            )
            gradients = load_gradients(statistics_gradient, term, image, k, images, channels, DTYPE)
            _, slope = focal_of_softmax(logit, largest, inverse, rest, GAMMA)
            of_positive += tl.where(foreground, gradients.positive * slope, 0.0)
            first_logits += logits_channel
            first_winners += winners_channel
            first_target += target_channel
    return Common(largest, inverse, of_positive - of_probabilities * inverse, rest)


@triton.jit(
    do_not_specialize=[
        "images", "blocks", "channels", "outer", "middle", "inner",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "first_class",
    ]
)  # fmt: skip
def dice_ce_backward_common(
    statistics_gradient,  # [2, STATISTICS, B, channels], contiguous
    logits,
    target,
    winners,
    common,  # out: [terms, parts, B, pixels of an image], the penalized term first
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
    OF_UNPENALIZED: tl.constexpr,
    GAMMA: tl.constexpr,
    WINDOW_OUTER: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one image. The results of invalid pixels are never used."""
    DTYPE: tl.constexpr = common.dtype.element_ty
    image, _block, number, pixel = pixels_of_image(blocks, middle, inner, LANES, WIDE_OFFSETS)
    sizes = (outer, middle, inner)
    window = (WINDOW_OUTER, WINDOW_MIDDLE, WINDOW_INNER)
    count = outer.to(number.dtype) * middle * inner
    here = number < count
    logits += offset(image, logits_batch)
    winners += offset(image, winners_batch)
    target += offset(image, target_batch)
    target_at = offset_in_image(pixel, (target_outer, target_middle, target_inner))
    value = tl.load(target + target_at, mask=here, other=0)
    field = offset(images, count)
    common += offset(image, count)
    for term in tl.static_range(2):
        if (term == 0) or OF_UNPENALIZED:
            found = common_of_pixels(
                logits, winners, target, target_at, value, pixel, here, sizes, window,
                (logits_outer, logits_middle, logits_inner), logits_channel,
                (winners_outer, winners_middle, winners_inner), winners_channel, target_channel,
                statistics_gradient, term, image, images, channels, first_class, TARGET_IS_MASKS,
                term == 0, GAMMA, LANES, DTYPE,
            )  # fmt: skip
            for part in tl.static_range(FOCAL_PARTS if GAMMA != 0 else ENTROPY_PARTS):
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
def dice_ce_backward_unpenalized(
    statistics_gradient,  # [2, STATISTICS, B, channels], contiguous
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
    GAMMA: tl.constexpr,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one image, every class."""
    zero = zeros(LANES, logits.dtype.element_ty)
    DTYPE: tl.constexpr = zero.dtype
    image, _block, number, pixel = pixels_of_image(blocks, middle, inner, LANES, WIDE_OFFSETS)
    here = number < outer.to(number.dtype) * middle * inner
    logits_strides = (logits_outer, logits_middle, logits_inner)
    logits += offset(image, logits_batch)
    target += offset(image, target_batch)
    mask += offset(image, mask_batch)
    logits_gradient += offset(image, result_batch)
    logits_at = offset_in_image(pixel, logits_strides)
    target_at = offset_in_image(pixel, (target_outer, target_middle, target_inner))
    mask_at = offset_in_image(pixel, (mask_outer, mask_middle, mask_inner))
    result_at = offset_in_image(pixel, (result_outer, result_middle, result_inner))
    value, valid = load_target(
        target + target_at, mask + mask_at, here, ignore_index, HAS_IGNORE_INDEX, HAS_MASK
    )
    common = Common(zero, zero, zero, zero)
    if SOFTMAX:
        common = common_of_pixels(
            logits, logits, target, target_at, value, pixel, here,
            (outer, middle, inner), (1, 1, 1),
            logits_strides, logits_channel, logits_strides, logits_channel, target_channel,
            statistics_gradient, 1, image, images, channels, first_class, TARGET_IS_MASKS,
            False, GAMMA, LANES, DTYPE,
        )  # fmt: skip
    for k in range(channels):
        logit = widened(tl.load(logits + logits_at, mask=here, other=0))
        foreground = foreground_of_class(
            target + target_at, here, value, first_class + k, TARGET_IS_MASKS
        )
        gradients = load_gradients(statistics_gradient, 1, image, k, images, channels, DTYPE)
        gradient = gradient_of_logit(logit, foreground, gradients, common, SOFTMAX, GAMMA)
        gradient = tl.where(valid, gradient, 0.0).to(logits_gradient.dtype.element_ty)
        tl.store(logits_gradient + result_at, gradient, mask=here)
        logits += logits_channel
        target += target_channel
        logits_gradient += result_channel
