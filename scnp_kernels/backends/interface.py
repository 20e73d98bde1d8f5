"""What a backend is: the operations that it implements."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class FusedDiceCE(NamedTuple):
    """Kernels that compute Dice + cross entropy's statistics and gradient in one pass each."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., Tensor]
    backward_in_place: Callable[..., None]  # backward, whose result takes the place of the logits
    most_classes: Callable[[], float]  # how many they take


class Backend(NamedTuple):
    """The raw operations of :mod:`scnp_kernels.ops`, with a Reading and a Wanted by name.

    Without fused kernels, or for more classes than they take, the loss is composed of the first
    three (:mod:`scnp_kernels.backends.composed_dice_ce`).
    """

    name: str
    forward: Callable[..., tuple[Tensor, Tensor]]
    scatter: Callable[..., Tensor]
    gather: Callable[..., Tensor]
    dice_ce: FusedDiceCE | None = None

    def fused_dice_ce(self, logits: Tensor) -> FusedDiceCE | None:
        """Return the kernels of the fused loss for logits ``[B, C, *spatial]``, or None."""
        fused = self.dice_ce
        return fused if fused is not None and 0 < logits.shape[1] <= fused.most_classes() else None
