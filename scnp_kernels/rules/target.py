"""What a target says of a pixel: its class, whether it is valid, and which values it may hold."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Reading(NamedTuple):
    """How a target is to be read. Decided once, from global shapes; kernels never infer it.

    The operators' schemas hold its fields one by one, in this order.
    """

    target_is_masks: bool  # one binary mask per channel; otherwise a label map
    first_class: int  # of a label map: channel k is foreground where label == first_class + k
    label_count: int  # of a label map: permitted labels are [0, label_count)
    ignore_index: int | None  # the label, or mask value, of invalid pixels
    validate: bool  # whether values that are not permitted raise


def can_hold(dtype: torch.dtype, label: int) -> bool:
    """Return whether a tensor of this dtype can hold this integer: 255 is not -1 of an int8 map.

    >>> can_hold(torch.uint8, -1), can_hold(torch.float16, 2048), can_hold(torch.float16, 2049)
    (False, True, False)
    """
    if dtype == torch.bool:
        return label in (0, 1)
    if not dtype.is_floating_point:
        return torch.iinfo(dtype).min <= label <= torch.iinfo(dtype).max
    # Computed without a tensor: one made here would land on whatever device is the default.
    magnitude = abs(label)
    odd_part = magnitude // (magnitude & -magnitude) if magnitude else 0
    limits = torch.finfo(dtype)
    return odd_part < 2 / limits.eps and magnitude <= int(limits.max)


def foreground_pixels(logits: Tensor, target: Tensor, reading: Reading) -> Tensor:
    """Return ``[B, C, *spatial]`` bool: whether the pixel belongs to the channel's class."""
    if reading.target_is_masks:
        # uint64 compares as int64, where its upper half is negative.
        values = _comparable(target)
        return values != 0 if target.dtype == torch.uint64 else values > 0.5
    channels = logits.shape[1]
    first = reading.first_class
    classes = torch.arange(first, first + channels, device=logits.device)
    classes = classes.view(1, channels, *[1] * (logits.dim() - 2))
    return _comparable(target.unsqueeze(1)) == classes


def valid_pixels(logits: Tensor, target: Tensor, mask: Tensor | None, reading: Reading) -> Tensor:
    """Return ``[B, 1, *spatial]`` bool: whether the pixel is neither ignored nor outside the mask.

    The label of ignored pixels is compared as an integer, so a label that the target's dtype
    cannot hold ignores nothing.
    """
    shape = (logits.shape[0], 1, *logits.shape[2:])
    valid = torch.ones(shape, dtype=torch.bool, device=logits.device)
    if mask is not None:
        valid = valid & mask.unsqueeze(1)
    if reading.ignore_index is not None and can_hold(target.dtype, reading.ignore_index):
        labels = target if reading.target_is_masks else target.unsqueeze(1)
        valid = valid & (_comparable(labels) != reading.ignore_index)
    return valid


def check_values(logits: Tensor, target: Tensor, mask: Tensor | None, reading: Reading) -> None:
    """Raise ValueError if a valid pixel holds a label, or a mask a value, that is not permitted.

    This looks at values: on a GPU it waits for it.
    """
    valid = valid_pixels(logits, target, mask, reading)
    target = target if reading.target_is_masks else target.unsqueeze(1)
    values = _comparable(target)
    if reading.target_is_masks:
        permitted = (values == 0) | (values == 1)
    else:
        permitted = (values >= 0) & (values < reading.label_count) & (values == values.floor())
    wrong = ~permitted & valid
    if bool(wrong.any()):
        raise_not_permitted(target[tuple(wrong.nonzero()[0].tolist())].item(), reading)


def raise_not_permitted(value: float, reading: Reading) -> None:
    """Raise the ValueError about a target that holds ``value``, which is not permitted."""
    ignored = reading.ignore_index
    if reading.target_is_masks:
        also = "" if ignored is None else f" (and ignore_index={ignored})"
        soft = "; soft labels need target > 0.5, or validate=False, which reads them so"
        raise ValueError(
            f"target: got a mask that holds {value:g}, takes masks of 0 and 1{also}"
            f"{soft if 0 < value < 1 else ''}"
        )
    also = " (or set ignore_index)" if ignored is None else f" and ignore_index={ignored}"
    raise ValueError(
        f"target: got a label map that holds {value:g}, takes integers in "
        f"[0, {reading.label_count}){also}"
    )


def _comparable(target: Tensor) -> Tensor:
    """Return the target in a dtype that compares exactly with any class's number."""
    if target.is_floating_point():
        return target.float() if target.dtype.itemsize == 2 else target
    return target.to(torch.int64)
