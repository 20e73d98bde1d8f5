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
from torch.utils import deterministic
from torch.utils.dlpack import from_dlpack

from ...rules.dice_ce import STATISTICS, Wanted, new_winners, statistics_dtype
from ...rules.target import Reading, check_values
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


def most_classes() -> int:
    """Return how many classes the fused loss takes here; the kernels must be loaded."""
    return int(loader.kernels.most_classes)


# Of smaller results the heap keeps the pages by itself.
_SMALLEST_RECYCLED = 4 << 20


def forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
) -> tuple[Tensor, Tensor]:
    """Eq. 1. Return the penalized logits and the winners' tap numbers, both ``[B, C, *spatial]``.

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
        None if gate is None else _facts(gate, "gate", device),
        kernel_size,
        *reading,
        _facts(penalized, "penalized", device),
        _facts(winners, "winners", device),
    )
    if logits.is_cpu:
        good = loader.kernels.forward(*arguments, torch.get_num_threads())
    else:
        with torch.cuda.device(device):
            fault = torch.full((1,), -1, device=device) if reading.validate else winners
            loader.kernels.cuda_forward(*arguments, fault.data_ptr(), _stream(device))
        good = not reading.validate or fault.item() < 0  # waits for the device
    if not good:
        check_values(logits, target, mask, reading)
    return penalized, winners


def scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Eq. 2. Send the gradient of every pixel to its winner; ``[B, C, *spatial]`` each."""
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
    """Give every pixel the value at its winner: the transpose of :func:`scatter`."""
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
    gate: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> tuple[Tensor, Tensor]:
    """Return the statistics ``[2, 6, B, C]`` of penalized and of plain logits, and the winners.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    device = logits.device
    if wanted.of_penalized:
        winners = _result_like(logits, winner_dtype(kernel_size))
    else:
        winners = new_winners(logits, kernel_size, of_penalized=False)
    shape = (2, STATISTICS, *logits.shape[:2])
    statistics = logits.new_zeros(shape, dtype=statistics_dtype(logits))
    good = loader.kernels.dice_ce_forward(
        _facts(logits, "logits", device),
        _facts(target, "target", device),
        None if mask is None else _facts(mask, "mask", device),
        None if gate is None else _facts(gate, "gate", device),
        kernel_size,
        *reading,
        *wanted,
        _facts(statistics, "statistics", device),
        _facts(winners, "winners", device),
        torch.get_num_threads(),
    )
    if not good:
        check_values(logits, target, mask, reading)
    return statistics, winners


def dice_ce_backward(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> Tensor:
    """Return the gradient of the logits. Half types add up in float32 and are rounded once."""
    result = _result_like(logits, logits.dtype)
    images = (statistics_gradient, winners, logits, target, mask)
    _dice_ce_backward_into(result, *images, kernel_size, reading, wanted)
    return result


def dice_ce_backward_in_place(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> None:
    """Overwrite the logits by the gradient that :func:`dice_ce_backward` returns, bit for bit."""
    images = (statistics_gradient, winners, logits, target, mask)
    _dice_ce_backward_into(logits, *images, kernel_size, reading, wanted)


def _dice_ce_backward_into(
    result: Tensor,
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> None:
    """Write the gradient to ``result``, which may be the logits: the kernels see that it is."""
    device = logits.device
    statistics_gradient = statistics_gradient.to(torch.float64).contiguous()
    loader.kernels.dice_ce_backward(
        _facts(statistics_gradient, "statistics_gradient", device),
        _facts(winners, "winners", device),
        _facts(logits, "logits", device),
        _facts(target, "target", device),
        None if mask is None else _facts(mask, "mask", device),
        kernel_size,
        *reading,
        *wanted,
        _facts(result, "logits_gradient", device),
        torch.get_num_threads(),
    )


def _facts(tensor: Tensor, name: str, device: torch.device) -> tuple[Any, ...]:
    """Return what the compiled module is told of a tensor.

    That is its address, the number of its dtype, sizes, strides, its offset in its storage, and the
    bytes of that storage.
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
    """Return the address of torch's current stream."""
    return torch.cuda.current_stream(device).cuda_stream


def _result_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a new tensor of the same shape and memory format, with nothing in it yet.

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
    fills = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if torch.are_deterministic_algorithms_enabled() and fills:
        result.fill_(math.nan if dtype.is_floating_point else torch.iinfo(dtype).max)
    return result
