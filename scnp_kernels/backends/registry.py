"""Chooses the backend that runs: the one place that knows them all, and why each can or cannot.

Nothing is probed at import. :func:`choose` is asked inside the operators, on real tensors.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch

from . import reference
from .interface import Backend, FusedDiceCE
from .native import loader as native
from .native import operators as native_operators
from .triton import availability as triton_availability

VARIABLE = "SCNP_BACKEND"
NAMES = ("triton", "cuda", "cpu", "reference")
OK = native.OK

# By device, the best first; other devices have the reference only.
_PREFERENCE = {"cpu": ("cpu", "reference"), "cuda": ("triton", "cuda", "reference")}


def backends() -> dict[str, str]:
    """Every backend, and ``"ok"`` or the reason why it cannot run here. Compiles nothing.

    ``"ok"`` may be followed by a remark: kernels that are not compiled yet compile on first use.

    >>> backends()["reference"]
    'ok'
    """
    return {
        "triton": _triton_status(),
        "cuda": native.cuda_status(),
        "cpu": native.load() or OK,
        "reference": OK,
    }


def _triton_status() -> str:
    reason = triton_availability.why_not()
    if reason is not None:
        return reason
    return f"{OK}, interpreted on the CPU" if triton_availability.is_interpreted() else OK


def check_backend(backend: str) -> None:
    """Raise unless ``backend`` is ``"auto"`` or a backend's name."""
    if not isinstance(backend, str):
        raise TypeError(f"backend: got {backend!r}, takes {_names()}")
    if backend != "auto" and backend not in NAMES:
        raise ValueError(f"backend: got {backend!r}, takes {_names()}")


def choose(requested: str, device: torch.device) -> Backend:
    """Return the backend for tensors on ``device``: the requested one, or the best that works.

    Raises:
        RuntimeError: The backend was asked for by name and cannot run; says why.
    """
    check_backend(requested)
    asked_by = "backend"
    if requested == "auto":
        asked_by, requested = VARIABLE, _from_environment()
    if requested != "auto":
        reason = _why_not(requested, device)
        if reason is not None:
            raise RuntimeError(f"{asked_by}={requested!r} cannot run here: {reason}")
        return _BACKENDS[requested]
    reasons: list[str] = []
    for name in _PREFERENCE.get(device.type, ("reference",)):
        reason = _why_not(name, device)
        if reason is None:
            _warn_once(name, device.type, tuple(reasons))
            return _BACKENDS[name]
        reasons.append(f"{name}: {reason}")
    raise AssertionError("the reference runs on every device")


def _why_not(name: str, device: torch.device) -> str | None:
    """None if the backend runs on the device, after loading what it needs; else the reason."""
    if name == "reference":
        return None
    if name == "cpu":
        if device.type != "cpu":
            return f"it takes tensors on the CPU, got {device}"
        return native.load()
    if name == "cuda":
        if device.type != "cuda":
            return f"it takes tensors on a CUDA device, got {device}"
        return native.load_cuda()
    if name == "triton":
        return triton_availability.why_not_on(device)
    return backends()[name]


def _from_environment() -> str:
    if VARIABLE not in os.environ:  # quicker than get(), which raises and catches there
        return "auto"
    backend = os.environ[VARIABLE] or "auto"
    if backend != "auto" and backend not in NAMES:
        raise ValueError(f"{VARIABLE}: got {backend!r}, takes {_names()}")
    return backend


_warned: set[tuple[str, str]] = set()


def _warn_once(name: str, device_type: str, reasons: tuple[str, ...]) -> None:
    if name == "reference" and reasons and (name, device_type) not in _warned:
        _warned.add((name, device_type))
        warnings.warn(
            f"scnp_kernels runs on its {name} backend for {device_type} tensors, which is slow. "
            f"The others cannot run: {'; '.join(reasons)}",
            RuntimeWarning,
            stacklevel=2,
        )


def _names() -> str:
    return ", ".join(f'"{name}"' for name in ("auto", *NAMES))


def _triton(operation: str) -> Callable[..., Any]:
    """Return one of the Triton kernels' operations, imported at its first call."""

    def call(*arguments: Any) -> Any:
        from .triton import operators

        return getattr(operators, operation)(*arguments)

    return call


def _triton_dice_ce(operation: str) -> Callable[..., Any]:
    """Return one of their operations of Dice + cross entropy, imported at its first call."""

    def call(*arguments: Any) -> Any:
        from .triton import dice_ce

        return getattr(dice_ce, operation)(*arguments)

    return call


def _native(name: str, dice_ce: FusedDiceCE | None) -> Backend:
    """Return the compiled kernels, which take those of the tensors' device."""
    operators = native_operators
    return Backend(name, operators.forward, operators.scatter, operators.gather, dice_ce)


_BACKENDS = {
    "triton": Backend(
        "triton",
        _triton("forward"),
        _triton("scatter"),
        _triton("gather"),
        FusedDiceCE(
            _triton_dice_ce("dice_ce_forward"),
            _triton_dice_ce("dice_ce_backward"),
            _triton_dice_ce("dice_ce_backward_in_place"),
            most_classes=lambda: math.inf,  # they loop over the classes
        ),
    ),
    "reference": Backend("reference", reference.forward, reference.scatter, reference.gather),
    "cpu": _native(
        "cpu",
        FusedDiceCE(
            native_operators.dice_ce_forward,
            native_operators.dice_ce_backward,
            native_operators.dice_ce_backward_in_place,
            native_operators.most_classes,
        ),
    ),
    "cuda": _native("cuda", None),
}
