"""Eq. 1 on the GPU for windows of any size, which forward_march.py would unroll too far.

A lane is a pixel. It walks over its window in raster order, in loops that are not unrolled, and
keeps the first best of the neighbours of its own class. Nothing is shared between lanes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device.keys import first_best, logit_of_key, no_candidate, ordered_key
from .device.pixels import offset_in_tensor, pixels_of_tensor
from .device.targets import is_foreground, load_target


@triton.jit(
    do_not_specialize=[
        "count", "channels", "outer", "middle", "inner",
        "reach_outer", "reach_middle", "reach_inner", "window_middle", "window_inner", "centre",
        "logits_batch", "logits_channel", "logits_outer", "logits_middle",
        "target_batch", "target_channel", "target_outer", "target_middle",
        "mask_batch", "mask_outer", "mask_middle",
        "gate_batch", "gate_outer", "gate_middle",
        "result_batch", "result_channel", "result_outer", "result_middle",
        "first_class", "ignore_index",
    ]
)  # fmt: skip
def forward_any_window(
    logits,  # [B, channels, outer, middle, inner], by the strides below
    target,  # a label map has target_channel = 0
    mask,  # bytes, without a channel axis; never read unless HAS_MASK
    gate,  # likewise, HAS_GATE: 0 where a pixel keeps its own logit
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
    gate_batch,
    gate_outer,
    gate_middle,
    gate_inner,
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
    HAS_GATE: tl.constexpr,
    WINNERS_ONLY: tl.constexpr,  # penalized is never written
    LANES: tl.constexpr,
    WIDE_OFFSETS: tl.constexpr,
):
    """One program: LANES pixels of the whole tensor."""
    DTYPE: tl.constexpr = logits.dtype.element_ty
    number, pixel = pixels_of_tensor(channels, outer, middle, inner, LANES, WIDE_OFFSETS)
    batch, channel, plane, row, column = pixel
    here = number < count
    logits_strides = (logits_batch, logits_channel, logits_outer, logits_middle, logits_inner)
    target_strides = (target_batch, target_channel, target_outer, target_middle, target_inner)
    mask_strides = (mask_batch, 0, mask_outer, mask_middle, mask_inner)
    gate_strides = (gate_batch, 0, gate_outer, gate_middle, gate_inner)
    result_strides = (result_batch, result_channel, result_outer, result_middle, result_inner)
    label = first_class + channel
    value, valid = load_target(
        target + offset_in_tensor(pixel, target_strides),
        mask + offset_in_tensor(pixel, mask_strides),
        here,
        ignore_index,
        HAS_IGNORE_INDEX,
        HAS_MASK,
    )
    penalizes = valid
    if HAS_GATE:
        gate_at = offset_in_tensor(pixel, gate_strides)
        penalizes = valid & (tl.load(gate + gate_at, mask=here, other=0) != 0)
    foreground = is_foreground(value, label, TARGET_IS_MASKS)
    own = tl.load(logits + offset_in_tensor(pixel, logits_strides), mask=here, other=0)
    no_key = no_candidate(LANES, DTYPE)
    best = no_key
    winner = tl.zeros([LANES], tl.int32)
    for step_outer in range(-reach_outer, reach_outer + 1):
        z = plane + step_outer
        plane_inside = penalizes & (z >= 0) & (z < outer)
        for step_middle in range(-reach_middle, reach_middle + 1):
            y = row + step_middle
            row_inside = plane_inside & (y >= 0) & (y < middle)
            for step_inner in range(-reach_inner, reach_inner + 1):
                x = column + step_inner
                inside = row_inside & (x >= 0) & (x < inner)
                neighbour = (batch, channel, z, y, x)
                value, usable = load_target(
                    target + offset_in_tensor(neighbour, target_strides),
                    mask + offset_in_tensor(neighbour, mask_strides),
                    inside,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                )
                logit = tl.load(
                    logits + offset_in_tensor(neighbour, logits_strides), mask=inside, other=0
                )
                same_class = is_foreground(value, label, TARGET_IS_MASKS) == foreground
                key = tl.where(usable & same_class, ordered_key(logit, foreground), no_key)
                tap = (step_outer * window_middle + step_middle) * window_inner + step_inner
                best, winner = first_best(best, winner, key, tap)
    # A pixel that is not penalized has seen no neighbour: its winner is still its own tap.
    result_at = offset_in_tensor(pixel, result_strides)
    if not WINNERS_ONLY:
        logit = tl.where(penalizes, logit_of_key(best, foreground, DTYPE), own)
        tl.store(penalized + result_at, logit, mask=here)
    tl.store(winners + result_at, (winner + centre).to(winners.dtype.element_ty), mask=here)
