"""What a call must give, by the contract alone: its result, or an error that names an argument."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests import generators as g
from tests.calls import assert_same
from tests.oracle import Reading, brute_force, brute_force_gradient, read_target
from tests.stress.drawn_calls import FLOATS, INTEGERS, MASKS, Call


def _is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and not value.is_nested
        and value.layout == torch.strided
        and not value.is_quantized
    )


def _is_index(value: Any) -> bool:
    if isinstance(value, bool | Tensor):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _window(kernel_size: Any, dimensions: int) -> tuple[int, ...] | None:
    """One side per axis, or None."""
    if _is_index(kernel_size):
        window = (operator.index(kernel_size),) * dimensions
    elif isinstance(kernel_size, tuple | list | range) and all(map(_is_index, kernel_size)):
        window = tuple(map(operator.index, kernel_size))
    else:
        return None
    good = len(window) == dimensions and all(size > 0 and size % 2 == 1 for size in window)
    return window if good else None


def faults(call: Call) -> set[str]:
    """The names of the arguments that the contract refuses, before any value is read."""
    logits, target, mask = call.logits, call.target, call.mask
    found = set()
    if call.validate is not None and not isinstance(call.validate, bool):
        found.add("validate")
    if call.ignore_index is not None and not _is_index(call.ignore_index):
        found.add("ignore_index")
    if not (_is_dense(logits) and logits.dtype in FLOATS and 3 <= logits.dim() <= 5):
        # A module may be made for any number of axes, and refuses what fits none of them.
        fits_some = any(_window(call.kernel_size, dimensions) for dimensions in (1, 2, 3))
        return found | {"logits"} | (set() if fits_some else {"kernel_size"})
    if _window(call.kernel_size, logits.dim() - 2) is None:
        found.add("kernel_size")
    batch, channels, *spatial = logits.shape
    maps = ((batch, *spatial), (batch, 1, *spatial))
    target_is_masks = _is_dense(target) and target.shape == logits.shape
    per_channel = (tuple(logits.shape),) if target_is_masks else ()
    for name, value, shapes in (
        ("mask", mask, (*maps, *per_channel)),
        ("gate", call.gate, maps),
    ):
        if value is None:
            continue
        fits = _is_dense(value) and tuple(value.shape) in shapes and value.dtype == torch.bool
        if not fits or value.device != logits.device:
            found.add(name)
    if not (_is_dense(target) and target.device == logits.device):
        return found | {"target"}
    if target.shape == logits.shape:
        if target.dtype not in MASKS:
            found.add("target")
        elif channels != 1 and call.ignore_index is not None:
            found.add("ignore_index")
    elif tuple(target.shape) not in maps or target.dtype not in (
        *INTEGERS,
        *FLOATS,
        *((torch.bool,) if channels == 1 else ()),
    ):
        found.add("target")
    return found


def _plain(tensor: Tensor) -> Tensor:
    """The values alone, in memory of their own."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _reading(call: Call) -> Reading:
    ignored = None if call.ignore_index is None else operator.index(call.ignore_index)
    mask = None if call.mask is None else _plain(call.mask)
    return read_target(tuple(call.logits.shape), _plain(call.target), ignored, mask)


def holds_wrong_values(call: Call) -> bool:
    """Is there a valid pixel whose target is not permitted? Of a call without other faults."""
    if call.validate is False or call.logits.numel() == 0:
        return False
    channels = call.logits.shape[1]
    masks = call.target.shape == call.logits.shape
    valid = _reading(call).valid
    permitted = (0, 1) if masks or channels == 1 else range(channels)
    flat = _plain(call.target).flatten().tolist()
    per_pixel = valid if masks else valid[:, 0]
    return any(
        ok and value not in permitted
        for value, ok in zip(flat, per_pixel.flatten().tolist(), strict=True)
    )


def _check_result(call: Call, result: Tensor, gradient: Tensor | None, incoming: Tensor) -> None:
    logits = call.logits
    assert result.shape == logits.shape
    assert result.dtype == logits.dtype
    assert result.device == logits.device
    if logits.device.type == "meta":
        return
    window = _window(call.kernel_size, logits.dim() - 2)
    assert window is not None
    # Beyond the image there is nobody: the oracle need not count taps out there.
    window = tuple(min(w, 2 * n + 1) for w, n in zip(window, logits.shape[2:], strict=True))
    if logits.numel() == 0:
        return
    gate = None if call.gate is None else _plain(call.gate)
    wanted = brute_force(_plain(logits), *_reading(call), window, gate)
    assert_same(result.detach().as_subclass(Tensor), wanted.penalized)
    if gradient is not None:
        assert_same(
            gradient.as_subclass(Tensor), brute_force_gradient(incoming, wanted.winners, window)
        )


def _names_one_of(error: Exception, names: set[str]) -> bool:
    return any(str(error).startswith((f"{name}:", f"{name},")) for name in names)


def outcome_of(function: Callable[[], Tensor]) -> Tensor | Exception:
    """What it returned, or the TypeError or ValueError that it raised."""
    try:
        return function()
    except (TypeError, ValueError) as error:
        return error


def check_error(error: Exception, at_fault: set[str]) -> None:
    assert type(error) in (TypeError, ValueError)
    assert at_fault, f"refused for no reason: {error}"
    assert _names_one_of(error, at_fault), (error, at_fault)


def judge(call: Call, function: Callable[[], Tensor]) -> bool:
    """Hold what the call does against what it should do. True where it gave a result."""
    at_fault = faults(call)
    if not at_fault and call.logits.device.type == "cpu" and holds_wrong_values(call):
        at_fault = {"target"}
    result = outcome_of(function)
    if isinstance(result, Exception):
        check_error(result, at_fault)
        return False
    assert not at_fault, f"taken in spite of {at_fault}"
    assert result.requires_grad == call.logits.requires_grad
    incoming = torch.randn(tuple(result.shape), generator=g.seeded(0), dtype=torch.float64).to(
        result.dtype
    )
    gradient = None
    if result.requires_grad:
        (gradient,) = torch.autograd.grad(result, call.logits, incoming.to(result.device))
    _check_result(call, result, gradient, incoming)
    return True
