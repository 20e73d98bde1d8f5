"""march_gradient.py for windows too large to march: one pixel after the other.

A lane is a pixel of one channel's image. It walks over the window in raster order, and asks every
neighbour whether the lane's own pixel is its winner; if so, the neighbour's penalized logit is the
lane's own logit, from which follows what the neighbour sends.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixel_loss import gradient_of_logit, load_sums_gradient
from .device.targets import is_foreground, load_target
from .device.tiles import offset
from .device.winners import offset_of_place, pixels_of_block
from .dice_ce_backward_march import load_common


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
def plain_gradient(
    sums_gradient,  # [2, 6, B, channels], contiguous
    logits,  # [B, channels, outer, middle, inner], by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    winners,
    common,  # of pixel_common: [terms, 3, B, pixels]; read only if SOFTMAX
    logits_gradient,  # out
    images,
    blocks,  # of a channel's image
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
    OF_PLAIN: tl.constexpr,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of one channel of an image."""
    zero = zeros(LANES, logits.dtype.element_ty)
    entry, _block, number, place = pixels_of_block(blocks, middle, inner, LANES, WIDE_OFFSETS)
    image = entry // channels
    channel = entry % channels
    pixels = outer.to(number.dtype) * middle * inner
    here = number < pixels
    target_strides = (target_outer, target_middle, target_inner)
    mask_strides = (mask_outer, mask_middle, mask_inner)
    winners_strides = (winners_outer, winners_middle, winners_inner)
    logits += offset(image, logits_batch) + offset(channel, logits_channel)
    target += offset(image, target_batch) + offset(channel, target_channel)
    mask += offset(image, mask_batch)
    winners += offset(image, winners_batch) + offset(channel, winners_channel)
    logits_gradient += offset(image, result_batch) + offset(channel, result_channel)
    common += offset(image, pixels)
    field = offset(images, pixels)
    label = first_class + channel
    logits_at = offset_of_place(place, (logits_outer, logits_middle, logits_inner))
    own = widened(tl.load(logits + logits_at, mask=here, other=0))
    gradients = load_sums_gradient(sums_gradient, 0, image, channel, images, channels, zero.dtype)
    total = zero
    for step_outer in range(-reach_outer, reach_outer + 1):
        z = place[0] + step_outer
        plane_inside = here & (z >= 0) & (z < outer)
        for step_middle in range(-reach_middle, reach_middle + 1):
            y = place[1] + step_middle
            row_inside = plane_inside & (y >= 0) & (y < middle)
            for step_inner in range(-reach_inner, reach_inner + 1):
                x = place[2] + step_inner
                inside = row_inside & (x >= 0) & (x < inner)
                sender = (z, y, x)
                tap = tl.load(
                    winners + offset_of_place(sender, winners_strides), mask=inside, other=0
                ).to(tl.int32)
                # The sender's winner lies in the opposite direction.
                away = (step_outer * window_middle + step_middle) * window_inner + step_inner
                sends = inside & (tap == centre - away)
                value, usable = load_target(
                    target,
                    offset_of_place(sender, target_strides),
                    mask,
                    offset_of_place(sender, mask_strides),
                    sends,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                common_at = (z * middle + y) * inner + x
                of_sender = load_common(common, common_at, field, sends, zero, SOFTMAX)
                foreground = is_foreground(value, label, TARGET_IS_MASKS)
                gradient = gradient_of_logit(own, foreground, gradients, of_sender, SOFTMAX)
                total += tl.where(usable, gradient, 0.0)
    if OF_PLAIN:
        value, usable = load_target(
            target,
            offset_of_place(place, target_strides),
            mask,
            offset_of_place(place, mask_strides),
            here,
            ignore_index,
            HAS_IGNORE_INDEX,
            HAS_MASK,
        )
        common_here = load_common(common + 3 * field, number, field, here, zero, SOFTMAX)
        gradients = load_sums_gradient(
            sums_gradient, 1, image, channel, images, channels, zero.dtype
        )
        foreground = is_foreground(value, label, TARGET_IS_MASKS)
        gradient = gradient_of_logit(own, foreground, gradients, common_here, SOFTMAX)
        total += tl.where(usable, gradient, 0.0)
    result_at = offset_of_place(place, (result_outer, result_middle, result_inner))
    tl.store(logits_gradient + result_at, total.to(logits_gradient.dtype.element_ty), mask=here)
