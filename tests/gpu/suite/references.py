"""What is dear to compute on the CPU, computed once for all backends and processes of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor


def kept(name: str, make: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Return ``make()``, or what it returned under this name in another process of the run.

    ``SCNP_REFERENCES`` is the run's own folder. Without one nothing is kept.
    """
    folder = os.environ.get("SCNP_REFERENCES", "")
    if not folder:
        return tuple(make())
    file = Path(folder) / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.pt"
    if file.exists():
        tensors: list[Tensor] = torch.load(file, weights_only=True)
        return tuple(tensors)
    made = tuple(make())
    new = file.with_suffix(f".{os.getpid()}")
    torch.save([tensor.clone() for tensor in made], new)
    new.replace(file)  # another process never reads half of it
    return made
