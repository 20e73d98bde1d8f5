"""Dice + cross entropy's gradient on the GPU for windows of any size.

Large windows are more than dice_ce_backward_march.py can unroll. Here a lane is a pixel of one
channel's image. It walks over its window in raster order, in loops that are not unrolled, and looks
for neighbours that have it as winner. The penalized logit of such a neighbour is the lane's logit,
from which follows what the neighbour sends.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixel_loss import (
    ENTROPY_PARTS,
    FOCAL_PARTS,
    gradient_of_logit,
    load_common,
    load_gradients,
)
from .device.pixels import offset_in_image, pixels_of_image
from .device.targets import is_foreground, load_target
from .device.views import offset


@triton.jit(
    do_not_specialize=[
        "images", "blocks", "channels", "outer", "middle", "inner",
        "reach_outer", "reach_middle", "reach_inner", "window_middle", "window_inner", "centre",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def dice_ce_backward_any_window(
    statistics_gradient,  # [2, STATISTICS, B, channels], contiguous
    logits,  # [B, channels, outer, middle, inner], by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,
    common,  # [terms, parts, B, pixels]; read only if SOFTMAX
    logits_gradient,  # out
    images,
    blocks,  # number per image of a channel
    channels,
    outer,
    middle,
    inner,
    reach_outer,  # how far the window reaches without leaving the image everywhere
    reach_middle,
    reach_inner,
    window_middle,
    window_inner,
    centre,  # the centre's tap
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
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one channel of an image."""
    PARTS: tl.constexpr = FOCAL_PARTS if GAMMA != 0 else ENTROPY_PARTS
    zero = zeros(LANES, logits.dtype.element_ty)
    entry, _block, number, pixel = pixels_of_image(blocks, middle, inner, LANES, WIDE_OFFSETS)
    image = entry // channels
    channel = entry % channels
    count = outer.to(number.dtype) * middle * inner
    here = number < count
    target_strides = (target_outer, target_middle, target_inner)
    mask_strides = (mask_outer, mask_middle, mask_inner)
    winners_strides = (winners_outer, winners_middle, winners_inner)
    logits += offset(image, logits_batch) + offset(channel, logits_channel)
    target += offset(image, target_batch) + offset(channel, target_channel)
    mask += offset(image, mask_batch)
    winners += offset(image, winners_batch) + offset(channel, winners_channel)
    logits_gradient += offset(image, result_batch) + offset(channel, result_channel)
    common += offset(image, count)
    field = offset(images, count)  # stride from part to part of common
    label = first_class + channel
    logits_at = offset_in_image(pixel, (logits_outer, logits_middle, logits_inner))
    own = widened(tl.load(logits + logits_at, mask=here, other=0))
    gradients = load_gradients(statistics_gradient, 0, image, channel, images, channels, zero.dtype)
    total = zero
    for step_outer in range(-reach_outer, reach_outer + 1):
        z = pixel[0] + step_outer
        plane_inside = here & (z >= 0) & (z < outer)
        for step_middle in range(-reach_middle, reach_middle + 1):
            y = pixel[1] + step_middle
            row_inside = plane_inside & (y >= 0) & (y < middle)
            for step_inner in range(-reach_inner, reach_inner + 1):
                x = pixel[2] + step_inner
                inside = row_inside & (x >= 0) & (x < inner)
                sender = (z, y, x)
                tap = tl.load(
                    winners + offset_in_image(sender, winners_strides), mask=inside, other=0
                ).to(tl.int32)
                # The sender's winner lies in the opposite direction.
                away = (step_outer * window_middle + step_middle) * window_inner + step_inner
                sends = inside & (tap == centre - away)
                value, usable = load_target(
                    target + offset_in_image(sender, target_strides),
                    mask + offset_in_image(sender, mask_strides),
                    sends,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                common_at = (z * middle + y) * inner + x
                of_sender = load_common(common + common_at, field, sends, zero, SOFTMAX, GAMMA)
                foreground = is_foreground(value, label, TARGET_IS_MASKS)
                gradient = gradient_of_logit(own, foreground, gradients, of_sender, SOFTMAX, GAMMA)
                total += tl.where(usable, gradient, 0.0)
    if OF_UNPENALIZED:
        value, usable = load_target(
            target + offset_in_image(pixel, target_strides),
            mask + offset_in_image(pixel, mask_strides),
            here,
            ignore_index,
            HAS_IGNORE_INDEX,
            HAS_MASK,
        )
        common += PARTS * field
        common_here = load_common(common + number, field, here, zero, SOFTMAX, GAMMA)
        gradients = load_gradients(
            statistics_gradient, 1, image, channel, images, channels, zero.dtype
        )
        foreground = is_foreground(value, label, TARGET_IS_MASKS)
        gradient = gradient_of_logit(own, foreground, gradients, common_here, SOFTMAX, GAMMA)
        total += tl.where(usable, gradient, 0.0)
    result_at = offset_in_image(pixel, (result_outer, result_middle, result_inner))
    tl.store(logits_gradient + result_at, total.to(logits_gradient.dtype.element_ty), mask=here)
