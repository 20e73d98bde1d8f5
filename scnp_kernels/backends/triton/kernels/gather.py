"""The transpose of Eq. 2 on the GPU: every pixel takes the value at its winner, in any window."""

from __future__ import annotations

import triton
import triton.language as tl

from .device.pixels import offset_in_tensor, pixels_of_tensor
from .device.winners import pixel_of_winner


@triton.jit(
    do_not_specialize=[
        "count", "channels", "outer", "middle", "inner",
        "window_outer", "window_middle", "window_inner",
        "values_batch", "values_channel", "values_outer", "values_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
    ]
)  # fmt: skip
def gather(
    values,  # [B, channels, outer, middle, inner], by the strides below
    winners,
    result,  # out
    count,
    channels,
    outer,
    middle,
    inner,
    window_outer,
    window_middle,
    window_inner,
    values_batch,
    values_channel,
    values_outer,
    values_middle,
    values_inner,
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
    values_strides = (values_batch, values_channel, values_outer, values_middle, values_inner)
    winners_strides = (winners_batch, winners_channel, winners_outer, winners_middle, winners_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    tap = tl.load(winners + offset_in_tensor(pixel, winners_strides), mask=here, other=0)
    sizes = (outer, middle, inner)
    window = (window_outer, window_middle, window_inner)
    z, y, x = pixel_of_winner(tap.to(tl.int32), plane, row, column, sizes, window)
    value = tl.load(values + offset_in_tensor((batch, channel, z, y, x), values_strides), mask=here)
    tl.store(result + offset_in_tensor(pixel, result_strides), value, mask=here)
