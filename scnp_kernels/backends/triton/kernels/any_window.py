"""One pixel after the other: windows too large to march, and gather.

A lane is a pixel of the whole tensor, numbered in the order of [B, C, outer, middle, inner].
Forward and scatter walk over the window in raster order, in loops that are not unrolled, and
read one neighbour per tap: nothing is shared, and no window is too large.

  forward   first best of the neighbours of the pixel's own class             (Eq. 1)
  scatter   sum of what the neighbours send that have the pixel as winner     (Eq. 2)
  gather    the value at the pixel's winner: the transpose of scatter
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.keys import first_best, logit_of_key, no_candidate, ordered_key
from .device.numbers import widened, zeros
from .device.targets import is_foreground, load_target


@triton.jit
def pixels_of_program(
    channels,
    outer,
    middle,
    inner,
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """[LANES] each: (number, batch, channel, plane, row, column). Numbers may run past the end."""
    number = tl.program_id(0)
    if WIDE_OFFSETS:
        number = number.to(tl.int64)
    number = number * LANES + tl.arange(0, LANES)
    column = number % inner
    rest = number // inner
    row = rest % middle
    rest = rest // middle
    plane = rest % outer
    rest = rest // outer
    return number, rest // channels, rest % channels, plane, row, column


@triton.jit
def pixel_offset(strides, batch, channel, plane, row, column):
    """[LANES] offsets, as wide as the place is given."""
    return (
        batch * strides[0]
        + channel * strides[1]
        + plane * strides[2]
        + row * strides[3]
        + column * strides[4]
    )


@triton.jit(
    do_not_specialize=[
        "count", "channels", "outer", "middle", "inner",
        "reach_outer", "reach_middle", "reach_inner", "window_middle", "window_inner", "centre",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def plain_forward(
    logits,  # [B, channels, outer, middle, inner], by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    penalized,  # out, with the strides of the winners
    winners,  # out
    count,  # pixels of the whole tensor
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
    WINNERS_ONLY: tl.constexpr,  # penalized is never written
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """Eq. 1: one program, LANES pixels."""
    DTYPE: tl.constexpr = logits.dtype.element_ty
    number, batch, channel, plane, row, column = pixels_of_program(
        channels, outer, middle, inner, LANES, WIDE_OFFSETS
    )
    here = number < count
    logits_strides = (logits_batch, logits_channel, logits_outer, logits_middle, logits_inner)
    target_strides = (target_batch, target_channel, target_outer, target_middle, target_inner)
    mask_strides = (mask_batch, 0, mask_outer, mask_middle, mask_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    label = first_class + channel
    value, valid = load_target(
        target,
        pixel_offset(target_strides, batch, channel, plane, row, column),
        mask,
        pixel_offset(mask_strides, batch, channel, plane, row, column),
        here,
        ignore_index,
        HAS_IGNORE_INDEX,
        HAS_MASK,
    )
    foreground = is_foreground(value, label, TARGET_IS_MASKS)
    own_at = pixel_offset(logits_strides, batch, channel, plane, row, column)
    own = tl.load(logits + own_at, mask=here, other=0)
    nobody = no_candidate(LANES, DTYPE)
    best = nobody
    winner = tl.zeros([LANES], tl.int32)
    for step_outer in range(-reach_outer, reach_outer + 1):
        z = plane + step_outer
        plane_inside = valid & (z >= 0) & (z < outer)
        for step_middle in range(-reach_middle, reach_middle + 1):
            y = row + step_middle
            row_inside = plane_inside & (y >= 0) & (y < middle)
            for step_inner in range(-reach_inner, reach_inner + 1):
                x = column + step_inner
                inside = row_inside & (x >= 0) & (x < inner)
                value, usable = load_target(
                    target,
                    pixel_offset(target_strides, batch, channel, z, y, x),
                    mask,
                    pixel_offset(mask_strides, batch, channel, z, y, x),
                    inside,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                neighbour_at = pixel_offset(logits_strides, batch, channel, z, y, x)
                logit = tl.load(logits + neighbour_at, mask=inside, other=0)
                same_class = is_foreground(value, label, TARGET_IS_MASKS) == foreground
                key = tl.where(usable & same_class, ordered_key(logit, foreground), nobody)
                tap = (step_outer * window_middle + step_middle) * window_inner + step_inner
                best, winner = first_best(best, winner, key, tap)
    # An invalid pixel saw nobody: its winner is itself.
    result_at = pixel_offset(result_strides, batch, channel, plane, row, column)
    if not WINNERS_ONLY:
        logit = tl.where(valid, logit_of_key(best, foreground, DTYPE), own)
        tl.store(penalized + result_at, logit, mask=here)
    tl.store(winners + result_at, (winner + centre).to(winners.dtype.element_ty), mask=here)


@triton.jit(
    do_not_specialize=[
        "count", "channels", "outer", "middle", "inner",
        "reach_outer", "reach_middle", "reach_inner", "window_middle", "window_inner", "centre",
        "gradient_batch", "gradient_channel", "gradient_outer", "gradient_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
    ]
)  # fmt: skip
def plain_scatter(
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
    """Eq. 2: one program, LANES pixels, each collecting from those that may have it as winner."""
    number, batch, channel, plane, row, column = pixels_of_program(
        channels, outer, middle, inner, LANES, WIDE_OFFSETS
    )
    here = number < count
    gradient_strides = (
        gradient_batch,
        gradient_channel,
        gradient_outer,
        gradient_middle,
        gradient_inner,
    )
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
                sender = pixel_offset(gradient_strides, batch, channel, z, y, x)
                value = widened(tl.load(gradient + sender, mask=inside, other=0))
                sender = pixel_offset(winners_strides, batch, channel, z, y, x)
                tap = tl.load(winners + sender, mask=inside, other=0).to(tl.int32)
                # The sender's winner lies in the opposite direction.
                away = (step_outer * window_middle + step_middle) * window_inner + step_inner
                total += tl.where(tap == centre - away, value, 0.0)
    result_at = pixel_offset(result_strides, batch, channel, plane, row, column)
    tl.store(logits_gradient + result_at, total.to(logits_gradient.dtype.element_ty), mask=here)


@triton.jit(
    do_not_specialize=[
        "count", "channels", "outer", "middle", "inner",
        "window_outer", "window_middle", "window_inner",
        "values_batch", "values_channel", "values_outer", "values_middle",
        "winners_batch", "winners_channel", "winners_outer", "winners_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
    ]
)  # fmt: skip
def gather_winners(
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
    """The transpose of Eq. 2: one program, LANES pixels, for windows of any size."""
    number, batch, channel, plane, row, column = pixels_of_program(
        channels, outer, middle, inner, LANES, WIDE_OFFSETS
    )
    here = number < count
    values_strides = (values_batch, values_channel, values_outer, values_middle, values_inner)
    winners_strides = (winners_batch, winners_channel, winners_outer, winners_middle, winners_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    winners_at = pixel_offset(winners_strides, batch, channel, plane, row, column)
    tap = tl.load(winners + winners_at, mask=here, other=0).to(tl.int32)
    x = column + tap % window_inner - window_inner // 2
    tap = tap // window_inner
    y = row + tap % window_middle - window_middle // 2
    z = plane + tap // window_middle - window_outer // 2
    # Winners of a forward pass never leave the image; anybody else's must not leave memory.
    x = tl.minimum(tl.maximum(x, 0), inner - 1)
    y = tl.minimum(tl.maximum(y, 0), middle - 1)
    z = tl.minimum(tl.maximum(z, 0), outer - 1)
    value = tl.load(values + pixel_offset(values_strides, batch, channel, z, y, x), mask=here)
    result_at = pixel_offset(result_strides, batch, channel, plane, row, column)
    tl.store(result + result_at, value, mask=here)
