"""Eq. 2 on the GPU for windows of any size, which scatter_march.py would unroll too far.

A lane is a pixel. It walks over its window in raster order, in loops that are not unrolled, and
adds up what the neighbours send that have it as winner. Nothing is shared between lanes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.numbers import widened, zeros
from .device.pixels import offset_in_tensor, pixels_of_tensor


@triton.jit(
    do_not_specialize=[
        "count", "channels", "outer", "middle", "inner",
        "reach_outer", "reach_middle", "reach_inner", "window_middle", "window_inner", "centre",
        "gradient_batch", "gradient_channel", "gradient_outer", "gradient_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
    ]
)  # fmt: skip
def scatter_any_window(
    gradient,  # [B, channels, outer, middle, inner], by the strides below
    winners,
    logits_gradient,  # out
    count,
    channels,
    outer,
    middle,
    inner,
    reach_outer,
    reach_middle,
    reach_inner,
    window_middle,
    window_inner,
    centre,
    gradient_batch,
    gradient_channel,
    gradient_outer,
    gradient_middle,
    gradient_inner,
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
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of the whole tensor."""
    number, pixel = pixels_of_tensor(channels, outer, middle, inner, LANES, WIDE_OFFSETS)
    batch, channel, plane, row, column = pixel
    here = number < count
    gradient_strides = (
        gradient_batch, gradient_channel, gradient_outer, gradient_middle, gradient_inner,
    )  # fmt: skip
    winners_strides = (winners_batch, winners_channel, winners_outer, winners_middle, winners_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    total = zeros(LANES, gradient.dtype.element_ty)
    for step_outer in range(-reach_outer, reach_outer + 1):
        z = plane + step_outer
        plane_inside = here & (z >= 0) & (z < outer)
        for step_middle in range(-reach_middle, reach_middle + 1):
            y = row + step_middle
            row_inside = plane_inside & (y >= 0) & (y < middle)
            for step_inner in range(-reach_inner, reach_inner + 1):
                x = column + step_inner
                inside = row_inside & (x >= 0) & (x < inner)
                sender = (batch, channel, z, y, x)
                value = tl.load(
                    gradient + offset_in_tensor(sender, gradient_strides), mask=inside, other=0
                )
                tap = tl.load(
                    winners + offset_in_tensor(sender, winners_strides), mask=inside, other=0
                ).to(tl.int32)
                # The sender's winner lies in the opposite direction.
                away = (step_outer * window_middle + step_middle) * window_inner + step_inner
                total += tl.where(tap == centre - away, widened(value), 0.0)
    result_at = offset_in_tensor(pixel, result_strides)
    tl.store(logits_gradient + result_at, total.to(logits_gradient.dtype.element_ty), mask=here)
