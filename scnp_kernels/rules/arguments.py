"""The arguments of :func:`scnp_kernels.scnp`: what each one takes, and the error when it differs.

Everything that can be decided from types, dtypes and shapes is decided here, once. What the
*values* of the target may be is checked inside the kernels, in the pass that reads them.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor

from .target import Reading, can_hold
from .window import clip_window

LOGITS_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LABEL_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
WIDE_UNSIGNED_DTYPES = (torch.uint16, torch.uint32, torch.uint64)
MAP_DTYPES = (torch.bool, *LABEL_DTYPES, *LOGITS_DTYPES)
MASKS_DTYPES = (torch.bool, *LABEL_DTYPES, *WIDE_UNSIGNED_DTYPES, *LOGITS_DTYPES)

KernelSize = int | Sequence[int]


class Arguments(NamedTuple):
    """What the raw operators are given: every question about shapes is already answered."""

    logits: Tensor  # [B, C, *spatial]
    target: Tensor  # masks [B, C, *spatial] or label map [B, *spatial]
    mask: Tensor | None  # [B, *spatial] bool or, beside masks, [B, C, *spatial]
    gate: Tensor | None  # [B, *spatial] bool: False where a pixel keeps its own logit
    kernel_size: tuple[int, ...]  # one odd window per spatial axis
    reading: Reading


def check_arguments(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize,
    ignore_index: int | None,
    mask: Tensor | None,
    gate: Tensor | None,
    validate: bool | None,
) -> Arguments:
    """Check everything but values, and settle how the target is to be read."""
    check_logits(logits)
    check_flag("validate", validate, or_none=True)
    spatial = logits.shape[2:]
    window = clip_window(check_kernel_size(kernel_size, len(spatial)), spatial)
    target_is_masks = check_target(target, logits)
    channels = logits.shape[1]
    ignored = check_ignore_index(ignore_index, overlapping=target_is_masks and channels != 1)
    if mask is not None:
        mask = check_mask(mask, logits, target_is_masks)
    if gate is not None:
        gate = check_gate(gate, logits)
    if ignored is not None and not -(2**63) <= ignored < 2**63:
        # The operators take 64 bits; the few dtypes that hold more are compared here.
        mask = _mask_of_other_labels(_without_channel_axis(target, logits), ignored, mask)
        ignored = None
    if target.requires_grad:  # it gets no gradient: alone, it is no reason to keep anything
        target = target.detach()
    return Arguments(
        logits=logits,
        target=target if target_is_masks else _without_channel_axis(target, logits),
        mask=mask,
        gate=gate,
        kernel_size=window,
        reading=Reading(
            target_is_masks=target_is_masks,
            first_class=1 if channels == 1 else 0,
            label_count=2 if channels == 1 else channels,
            ignore_index=ignored,
            validate=logits.device.type == "cpu" if validate is None else validate,
        ),
    )


def differs_by_channel(arguments: Arguments) -> bool:
    """Return whether which pixels are valid differs from channel to channel."""
    return arguments.mask is not None and arguments.mask.dim() == arguments.logits.dim()


def channel_by_channel(arguments: Arguments) -> Arguments:
    """Return arguments of which every channel is an image of its own, with one channel.

    Channels of overlapping masks have nothing to do with each other, so the result is the same;
    kernels read one map of the valid pixels per image.
    """
    logits, target, mask, gate, kernel_size, reading = arguments
    assert mask is not None
    images = (-1, 1, *logits.shape[2:])
    if gate is not None:  # the same for every channel of a pixel
        gate = gate.unsqueeze(1).expand(logits.shape).reshape(-1, *gate.shape[1:])
    return Arguments(
        logits=logits.reshape(images),
        target=target.reshape(images),
        mask=mask.reshape(-1, *mask.shape[2:]),
        gate=gate,
        kernel_size=kernel_size,
        reading=reading._replace(first_class=1, label_count=2),
    )


def check_logits(logits: Tensor) -> None:
    """Raise unless ``logits`` is a dense floating tensor ``[B, C, *spatial]``."""
    if isinstance(logits, (list, tuple)):
        raise TypeError(
            f"logits: got a {type(logits).__name__} of {len(logits)} outputs, takes one "
            "torch.Tensor; where a network has several, the loss over outputs goes outside, as in "
            "MONAI's DeepSupervisionLoss(SCNPLoss(...))"
        )
    check_dense_tensor("logits", logits)
    if logits.dtype not in LOGITS_DTYPES:
        raise TypeError(f"logits: got {logits.dtype}, takes float16, bfloat16, float32 or float64")
    if not 3 <= logits.dim() <= 5:
        raise ValueError(
            f"logits: got {logits.dim()} axes {tuple(logits.shape)}, "
            "takes [B, C, *spatial] with 1 to 3 spatial axes"
        )


_ONE_PER_CHANNEL = (
    "; a window per channel is a call per channel, scnp(logits[:, [k]], target == k, kernel_size_k)"
)


def check_kernel_size(kernel_size: KernelSize, dimensions: int | None = None) -> tuple[int, ...]:
    """One odd positive window per spatial axis.

    ``dimensions`` may be unknown, as when a module is made: one number then stays one.
    """
    if type(kernel_size) is int and kernel_size > 0 and kernel_size % 2 == 1:
        return (kernel_size,) * (dimensions or 1)
    per_axis = "one per spatial axis" if dimensions is None else f"{dimensions}, one per axis"
    takes = f"takes an odd positive integer, or a sequence of them ({per_axis})"
    if isinstance(kernel_size, (str, bytes, bytearray, Tensor)):
        raise TypeError(f"kernel_size: got {kernel_size!r}, {takes}")
    if isinstance(kernel_size, Sequence):
        if any(isinstance(size, Sequence) for size in kernel_size):
            raise TypeError(f"kernel_size: got {kernel_size!r}, {takes}{_ONE_PER_CHANNEL}")
        window = tuple(_index("kernel_size", size, takes) for size in kernel_size)
        allowed_lengths = (1, 2, 3) if dimensions is None else (dimensions,)
        if len(window) not in allowed_lengths:
            raise ValueError(
                f"kernel_size: got {len(window)} values {kernel_size!r}, {takes}{_ONE_PER_CHANNEL}"
            )
    else:
        window = (_index("kernel_size", kernel_size, takes),) * (dimensions or 1)
    if any(size < 1 or size % 2 == 0 for size in window):
        raise ValueError(f"kernel_size: got {kernel_size!r}, {takes}")
    return window


def check_target(target: Tensor, logits: Tensor) -> bool:
    """Return True for masks (the shape of the logits), False for a label map."""
    check_dense_tensor("target", target)
    _check_device("target", target, logits)
    channels = logits.shape[1]
    if _same_shape(target.shape, logits.shape):
        if target.dtype not in MASKS_DTYPES:
            raise TypeError(
                f"target: got masks of {target.dtype}, takes bool, an integer dtype, or float16, "
                "bfloat16, float32 or float64 holding 0 and 1"
            )
        return True
    if not _is_map_of(target, logits):
        raise ValueError(
            f"target: got shape {tuple(target.shape)}, takes a label map of shape "
            f"{_map_shapes_text(logits)}, or masks of the shape of logits {tuple(logits.shape)}"
            f"{_hint_about_sizes(target, logits)}"
        )
    if target.dtype == torch.bool and channels != 1:
        raise TypeError(
            f"target: got a label map of torch.bool for C = {channels} classes; a bool label map "
            "needs C = 1, and one mask per class needs the shape of logits "
            f"{tuple(logits.shape)}"
        )
    if target.dtype not in MAP_DTYPES:
        raise TypeError(
            f"target: got a label map of {target.dtype}, takes uint8, int8, int16, int32, int64, "
            "bool (when C = 1), or a floating dtype holding whole numbers"
        )
    return False


def _hint_about_sizes(target: Tensor, logits: Tensor) -> str:
    """Return what to do where the logits are a smaller image of the target, or nothing."""
    dimensions = logits.dim() - 2
    whole, small = target.shape[-dimensions:], logits.shape[2:]
    if target.dim() <= dimensions or target.shape[0] != logits.shape[0]:
        return ""
    if all(a >= b for a, b in zip(whole, small, strict=True)) and tuple(whole) != tuple(small):
        return (
            "; upsample the logits to the target's size first, such as by "
            f"torch.nn.functional.interpolate(logits, size={tuple(whole)})"
        )
    return ""


def check_mask(mask: Tensor, logits: Tensor, target_is_masks: bool) -> Tensor:
    """Return the mask as ``[B, *spatial]``, or ``[B, C, *spatial]`` where it differs by channel.

    Raises:
        TypeError: It is no bool tensor.
        ValueError: It is no map of the valid pixels, or one per channel beside a label map.
    """
    check_dense_tensor("mask", mask)
    _check_device("mask", mask, logits)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask: got {mask.dtype}, takes torch.bool (True where a pixel is valid)")
    if _is_map_of(mask, logits):
        return _without_channel_axis(mask, logits)
    if not _same_shape(mask.shape, logits.shape):
        per_channel = f" or, beside masks, {tuple(logits.shape)}"
        raise ValueError(
            f"mask: got shape {tuple(mask.shape)}, takes {_map_shapes_text(logits)}{per_channel}"
        )
    if not target_is_masks:
        raise ValueError(
            f"mask: got the shape of logits {tuple(mask.shape)} beside a label map, takes "
            f"{_map_shapes_text(logits)} there; validity per channel needs one target mask per "
            "channel"
        )
    return mask


def check_gate(gate: Tensor, logits: Tensor) -> Tensor:
    """Return the gate as ``[B, *spatial]``.

    Raises:
        TypeError: It is no bool tensor.
        ValueError: It is no map of the pixels.
    """
    check_dense_tensor("gate", gate)
    _check_device("gate", gate, logits)
    if gate.dtype != torch.bool:
        raise TypeError(
            f"gate: got {gate.dtype}, takes torch.bool (False where a pixel keeps its own logit), "
            "such as distance < 3"
        )
    if not _is_map_of(gate, logits):
        per_channel = (
            "; it is the same for all channels: penalize channels with gates of their own one by "
            "one"
            if _same_shape(gate.shape, logits.shape)
            else ""
        )
        raise ValueError(
            f"gate: got shape {tuple(gate.shape)}, takes {_map_shapes_text(logits)}{per_channel}"
        )
    return _without_channel_axis(gate, logits)


def check_ignore_index(ignore_index: int | None, overlapping: bool = False) -> int | None:
    """Return the label of ignored pixels as an integer."""
    if ignore_index is None:
        return None
    if overlapping:
        raise ValueError(
            f"ignore_index: got {ignore_index!r} with one target mask per channel, where no label "
            "says 'ignored'; pass mask=, a bool map that is False at ignored pixels"
        )
    return _index("ignore_index", ignore_index, "takes an integer or None")


def check_flag(name: str, value: bool | None, or_none: bool = False) -> None:
    """Raise unless ``value`` is a bool (or None, where that is a choice)."""
    if not (isinstance(value, bool) or (or_none and value is None)):
        raise TypeError(
            f"{name}: got {value!r}, takes True or False{' or None' if or_none else ''}"
        )


def check_dense_tensor(name: str, value: object) -> None:
    """Raise unless ``value`` is a tensor whose elements lie in memory one by one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if value.is_nested:
        raise TypeError(f"{name}: got a nested tensor, takes a dense (strided) one")
    if value.layout != torch.strided or value.is_quantized:
        kind = "quantized" if value.is_quantized else str(value.layout)
        raise TypeError(f"{name}: got a {kind} tensor, takes a dense (strided) one")


def _check_device(name: str, value: Tensor, logits: Tensor) -> None:
    if value.device != logits.device:
        raise ValueError(
            f"{name}: got a tensor on {value.device}, takes the device of logits, {logits.device}"
        )


def _same_shape(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether two shapes are equal, looking at sizes only where the ranks are.

    Comparing sizes of different axes would make ``torch.export`` demand that they differ.
    """
    return len(shape) == len(other) and shape == other


def _is_map_of(label_map: Tensor, logits: Tensor) -> bool:
    """Return whether it is ``[B, *spatial]`` or ``[B, 1, *spatial]`` of the logits."""
    without, with_channel = _map_shapes(logits)
    return _same_shape(label_map.shape, without) or _same_shape(label_map.shape, with_channel)


def _map_shapes(logits: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    batch, spatial = logits.shape[0], logits.shape[2:]
    return (batch, *spatial), (batch, 1, *spatial)


def _map_shapes_text(logits: Tensor) -> str:
    without, with_channel = _map_shapes(logits)
    return f"{tuple(without)} or {tuple(with_channel)}"


def _without_channel_axis(label_map: Tensor, logits: Tensor) -> Tensor:
    """[B, 1, *spatial] or [B, *spatial] -> [B, *spatial], without a copy."""
    return label_map.squeeze(1) if label_map.dim() == logits.dim() else label_map


def _mask_of_other_labels(target: Tensor, label: int, mask: Tensor | None) -> Tensor | None:
    """``mask``, and False where the target holds a label of more than 64 signed bits."""
    if target.is_floating_point() and can_hold(torch.float64, label):
        others = target.double() != float(label)
    elif target.dtype == torch.uint64 and 0 <= label < 2**64:
        others = target.view(torch.int64) != label - 2**64
    else:
        return mask
    return others if mask is None else mask & others


def _index(name: str, value: SupportsIndex, takes: str) -> int:
    if isinstance(value, (bool, Tensor)):
        raise TypeError(f"{name}: got {value!r}, {takes}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r}, {takes}") from None
