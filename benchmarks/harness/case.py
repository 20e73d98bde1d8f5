"""One input and what is asked of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

LABELS, FLOAT_MASKS, BOOL_MASKS = "labels", "float masks", "bool masks"


@dataclass(frozen=True)
class Case:
    """One input and what is asked of it."""

    shape: tuple[int, ...]  # [B, C, *spatial]
    kernel_size: int = 3
    dtype: torch.dtype = torch.float32
    target: str = LABELS  # what ours is given; the peers always take their one-hot masks, ready
    channels_last: bool = False
    threads: int | None = None  # None: those of the run
    of_loss: bool = False  # Dice + cross entropy, not SCNP alone

    @property
    def dimensions(self) -> int:
        """Number of spatial axes."""
        return len(self.shape) - 2

    @property
    def logits(self) -> int:
        """Number of logits."""
        return math.prod(self.shape)

    @property
    def taps(self) -> int:
        """Number of pixels in the window."""
        return int(self.kernel_size**self.dimensions)

    @property
    def dtype_name(self) -> str:
        """``float32`` for ``torch.float32``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def winners_dtype(self) -> torch.dtype:
        """The smallest integer that numbers the window's pixels."""
        return torch.uint8 if self.taps <= 255 else torch.int16

    @property
    def name(self) -> str:
        """Unique among the cases."""
        parts = ["x".join(map(str, self.shape)), f"w{self.kernel_size}", self.dtype_name]
        parts += [self.target.replace(" ", "_")]
        parts += ["channels_last"] if self.channels_last else []
        parts += [f"{self.threads}_threads"] if self.threads is not None else []
        parts += ["loss"] if self.of_loss else []
        return "-".join(parts)


def least_bytes(case: Case) -> tuple[int, int]:
    """Bytes that forward and backward have to move at least, with what ours is given and returns.

    Forward: read logits and target, write penalized logits and winners. Backward: read the
    incoming gradient and the winners, write the gradient.
    """
    values, winners = case.dtype.itemsize, case.winners_dtype.itemsize
    if case.of_loss:
        # Of SCNPDiceCELoss: both passes read logits and labels; one writes the winners, which the
        # other reads to write the gradient.
        read = case.logits * values + torch.int64.itemsize * (case.logits // case.shape[1])
        return read + case.logits * winners, read + case.logits * (winners + values)
    if case.target == LABELS:
        target = torch.int64.itemsize * (case.logits // case.shape[1])
    else:
        target = case.logits * (values if "float" in case.target else torch.bool.itemsize)
    forward = case.logits * (values + values + winners) + target
    return forward, case.logits * (values + winners + values)
