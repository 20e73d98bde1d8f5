"""Whether the Triton kernels run here. Without a GPU, nothing of triton is imported for that."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from importlib import metadata

import torch

OLDEST = (3, 6)
_INTERPRETED = ("1", "true", "on", "yes", "y")


def is_interpreted() -> bool:
    """Return whether triton's own variable requests its interpreter, for kernels on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in _INTERPRETED


def why_not() -> str | None:
    """Return None if triton is installed and a GPU or the interpreter is there; else the reason."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (torch's GPU builds for Linux bring it along)"
    version = _version()
    if version is not None and tuple(map(int, version.groups())) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"triton {version[0]} is too old, {oldest} or later is needed"
    if is_interpreted():
        return None
    if not torch.cuda.is_available():
        build = "" if torch.version.cuda or torch.version.hip else ", and this torch is a CPU build"
        return f"torch sees no GPU (torch.cuda.is_available() is False{build})"
    return _driver_failure()


def why_not_on(device: torch.device) -> str | None:
    """Return None if the kernels take tensors on ``device``, else the reason."""
    reason = why_not()
    if reason is not None:
        return reason
    if device.type == "cuda" or (device.type == "cpu" and is_interpreted()):
        return None
    return f"it takes tensors on a GPU, got {device}"


@functools.cache
def _driver_failure() -> str | None:
    """Return None if triton's driver starts, which takes a C compiler; else the reason."""
    from triton.runtime import driver

    try:
        driver.active.get_current_target()
    except Exception as error:  # whatever a missing compiler or a broken driver raises
        return f"triton's driver does not start: {error}"
    return None


@functools.cache
def _version() -> re.Match[str] | None:
    """Return triton's version, or None if it was installed without metadata."""
    for package in ("triton", "pytorch-triton", "pytorch-triton-rocm"):
        try:
            return re.match(r"(\d+)\.(\d+)", metadata.version(package))
        except metadata.PackageNotFoundError:
            continue
    return None
