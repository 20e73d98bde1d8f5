"""The compiled kernels as a backend's operations: they allocate, hand over, and call.

The compiled module knows no torch. It is handed every tensor as numbers (:func:`_facts`), checks
what they say, and runs on torch's threads, or on torch's current stream. An address says nothing of
negated or conjugated values, which the dispatcher resolves: so these are called from inside the
operators of :mod:`scnp_kernels.ops`, and from nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from ...rules.target import check_values
from ...rules.window import winner_dtype
from . import loader

# By the numbers of the compiled module, csrc/contract/geometry.h's TargetType.
_DTYPES = {
    dtype: number
    for number, dtype in enumerate(
        (
            torch.bool,
            torch.uint8,
            torch.int8,
            torch.uint16,
            torch.int16,
            torch.uint32,
            torch.int32,
            torch.uint64,
            torch.int64,
            torch.float16,
            torch.bfloat16,
            torch.float32,
            torch.float64,
        )
    )
}


# Of smaller results the heap keeps the pages by itself.
_SMALLEST_RECYCLED = 4 << 20


def forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
) -> tuple[Tensor, Tensor]:
    """Eq. 1. Returns the penalized logits and the winners' tap numbers, both ``[B, C, *spatial]``.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    device = logits.device
    penalized = _result_like(logits, logits.dtype)
    winners = _result_like(logits, winner_dtype(kernel_size))
    arguments = (
        _facts(logits, "logits", device),
        _facts(target, "target", device),
        None if mask is None else _facts(mask, "mask", device),
        kernel_size,
        target_is_masks,
        first_class,
        label_count,
        ignore_index,
        validate,
        _facts(penalized, "penalized", device),
        _facts(winners, "winners", device),
    )
    if logits.is_cpu:
        good = loader.kernels.forward(*arguments, torch.get_num_threads())
    else:
        with torch.cuda.device(device):
            fault = torch.full((1,), -1, device=device) if validate else winners
            loader.kernels.cuda_forward(*arguments, fault.data_ptr(), _stream(device))
        good = not validate or fault.item() < 0  # waits for the device
    if not good:
        check_values(logits, target, mask, target_is_masks, label_count, ignore_index)
    return penalized, winners


def scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Eq. 2. Sends the gradient of every pixel to its winner; ``[B, C, *spatial]`` each."""
    device = gradient.device
    # The winners have the memory format of the logits, and so has the logits' gradient.
    result = _result_like(winners, gradient.dtype)
    arguments = (
        _facts(gradient, "gradient", device),
        _facts(winners, "winners", device),
        kernel_size,
        _facts(result, "logits_gradient", device),
    )
    if gradient.is_cpu:
        loader.kernels.scatter(*arguments, torch.get_num_threads())
    else:
        with torch.cuda.device(device):
            loader.kernels.cuda_scatter(*arguments, _stream(device))
    return result


def gather(values: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """The transpose of :func:`scatter`: every pixel takes the value at its winner."""
    device = values.device
    result = _result_like(winners, values.dtype)
    arguments = (
        _facts(values, "values", device),
        _facts(winners, "winners", device),
        kernel_size,
        _facts(result, "result", device),
    )
    if values.is_cpu:
        loader.kernels.gather(*arguments, torch.get_num_threads())
    else:
        with torch.cuda.device(device):
            loader.kernels.cuda_gather(*arguments, _stream(device))
    return result


def dice_ce_forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> tuple[Tensor, Tensor]:
    """The sums ``[2, 6, B, C]`` of the penalized and the plain logits, and the winners.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    device = logits.device
    winners = (
        _result_like(logits, winner_dtype(kernel_size))
        if of_penalized
        else logits.new_empty((logits.shape[0], 0), dtype=winner_dtype(kernel_size))
    )
    sums = logits.new_zeros((2, 6, *logits.shape[:2]), dtype=torch.float64)
    good = loader.kernels.dice_ce_forward(
        _facts(logits, "logits", device),
        _facts(target, "target", device),
        None if mask is None else _facts(mask, "mask", device),
        kernel_size,
        target_is_masks,
        first_class,
        label_count,
        ignore_index,
        validate,
        softmax,
        of_penalized,
        of_plain,
        _facts(sums, "sums", device),
        _facts(winners, "winners", device),
        torch.get_num_threads(),
    )
    if not good:
        check_values(logits, target, mask, target_is_masks, label_count, ignore_index)
    return sums, winners


def dice_ce_backward(
    sums_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> Tensor:
    """The gradient of the logits. Half types add up in float32 and are rounded once."""
    device = logits.device
    result = _result_like(logits, logits.dtype)
    sums_gradient = sums_gradient.to(torch.float64).contiguous()
    loader.kernels.dice_ce_backward(
        _facts(sums_gradient, "sums_gradient", device),
        _facts(winners, "winners", device),
        _facts(logits, "logits", device),
        _facts(target, "target", device),
        None if mask is None else _facts(mask, "mask", device),
        kernel_size,
        target_is_masks,
        first_class,
        label_count,
        ignore_index,
        validate,
        softmax,
        of_penalized,
        of_plain,
        _facts(result, "logits_gradient", device),
        torch.get_num_threads(),
    )
    return result


def _facts(tensor: Tensor, name: str, device: torch.device) -> tuple[Any, ...]:
    """What the compiled module is told of a tensor.

    Its address, number of its dtype, sizes, strides, offset in its storage, and bytes of that.
    """
    if tensor.device != device:
        raise ValueError(f"{name}: got a tensor on {tensor.device}, takes one on {device}")
    try:
        return (
            tensor.data_ptr(),
            _DTYPES[tensor.dtype],
            tensor.shape,
            tensor.stride(),
            tensor.storage_offset(),
            tensor.untyped_storage().nbytes(),
        )
    except KeyError:
        raise TypeError(
            f"{name}: got {tensor.dtype}, takes bool, an integer or a floating dtype"
        ) from None
    except RuntimeError:
        raise TypeError(
            f"{name}: got a {tensor.layout} tensor, takes a dense (strided) one"
        ) from None


def _stream(device: torch.device) -> int:
    """The address of torch's current stream."""
    return torch.cuda.current_stream(device).cuda_stream


def _result_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A new tensor of the same shape and memory format, with nothing in it yet.

    Large ones on the CPU lie in recycled memory.
    """
    if tensor.numel() * dtype.itemsize < _SMALLEST_RECYCLED or not tensor.is_cpu:
        return torch.empty_like(tensor, dtype=dtype)
    # Without values: torch decides how the result lies in memory.
    layout = torch.empty_like(tensor, dtype=dtype, device="meta")
    capsule = loader.kernels.recycled_result(layout.shape, layout.stride(), _DTYPES[dtype])
    if capsule is None:
        return torch.empty_like(tensor, dtype=dtype)
    result: Tensor = from_dlpack(capsule)
    # As torch does with all fresh memory, where that is asked for.
    if (
        torch.are_deterministic_algorithms_enabled()
        and torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    ):
        result.fill_(math.nan if dtype.is_floating_point else torch.iinfo(dtype).max)
    return result
