"""What a target says of a pixel: its class, whether it is valid, and which values it may hold."""

from __future__ import annotations

import torch
from torch import Tensor


def can_hold(dtype: torch.dtype, label: int) -> bool:
    """Can a tensor of this dtype hold this integer? 255 is not -1 of an int8 map.

    >>> can_hold(torch.uint8, -1), can_hold(torch.float16, 2048), can_hold(torch.float16, 2049)
    (False, True, False)
    """
    if dtype == torch.bool:
        return label in (0, 1)
    if not dtype.is_floating_point:
        return torch.iinfo(dtype).min <= label <= torch.iinfo(dtype).max
    # Without a tensor: one made here would land on whatever device is the default.
    magnitude = abs(label)
    odd_part = magnitude // (magnitude & -magnitude) if magnitude else 0
    limits = torch.finfo(dtype)
    return odd_part < 2 / limits.eps and magnitude <= int(limits.max)


def _comparable(target: Tensor) -> Tensor:
    """The target in a dtype that compares exactly with any class's number."""
    if target.is_floating_point():
        return target.float() if target.dtype.itemsize == 2 else target
    return target.to(torch.int64)


def foreground_pixels(
    logits: Tensor, target: Tensor, target_is_masks: bool, first_class: int
) -> Tensor:
    """[B, C, *spatial] bool: does the pixel belong to the channel's class?"""
    if target_is_masks:
        # uint64 compares as int64, where its upper half is negative.
        values = _comparable(target)
        return values != 0 if target.dtype == torch.uint64 else values > 0.5
    channels = logits.shape[1]
    classes = torch.arange(first_class, first_class + channels, device=logits.device)
    classes = classes.view(1, channels, *[1] * (logits.dim() - 2))
    return _comparable(target.unsqueeze(1)) == classes


def valid_pixels(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    target_is_masks: bool,
    ignore_index: int | None,
) -> Tensor:
    """[B, 1, *spatial] bool: is the pixel neither ignored nor outside the mask?"""
    shape = (logits.shape[0], 1, *logits.shape[2:])
    valid = torch.ones(shape, dtype=torch.bool, device=logits.device)
    if mask is not None:
        valid = valid & mask.unsqueeze(1)
    if ignore_index is not None and can_hold(target.dtype, ignore_index):
        labels = target if target_is_masks else target.unsqueeze(1)
        valid = valid & (_comparable(labels) != ignore_index)
    return valid


def check_values(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    target_is_masks: bool,
    label_count: int,
    ignore_index: int | None,
) -> None:
    """Raise ValueError if a valid pixel holds a label, or a mask a value, that is not permitted.

    Looks at values: on a GPU this waits for it.
    """
    valid = valid_pixels(logits, target, mask, target_is_masks, ignore_index)
    target = target if target_is_masks else target.unsqueeze(1)
    values = _comparable(target)
    if target_is_masks:
        permitted = (values == 0) | (values == 1)
    else:
        permitted = (values >= 0) & (values < label_count) & (values == values.floor())
    wrong = ~permitted & valid
    if not bool(wrong.any()):
        return
    value = target[tuple(wrong.nonzero()[0].tolist())].item()
    if target_is_masks:
        also = "" if ignore_index is None else f" (and ignore_index={ignore_index})"
        raise ValueError(f"target: got a mask that holds {value:g}, takes masks of 0 and 1{also}")
    also = " (or set ignore_index)" if ignore_index is None else f" and ignore_index={ignore_index}"
    raise ValueError(
        f"target: got a label map that holds {value:g}, takes integers in [0, {label_count}){also}"
    )
