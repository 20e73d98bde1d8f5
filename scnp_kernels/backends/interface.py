"""What a backend is: the operations that it implements."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Backend(NamedTuple):
    """The raw operations, with the arguments of :mod:`scnp_kernels.ops` less ``backend``.

    Those of the fused loss are there up to a number of classes; beyond it, and where it is 0, the
    loss is composed of the others (:mod:`scnp_kernels.composed_dice_ce`).
    """

    name: str
    forward: Callable[..., tuple[Tensor, Tensor]]
    scatter: Callable[..., Tensor]
    gather: Callable[..., Tensor]
    dice_ce_forward: Callable[..., tuple[Tensor, Tensor]]
    dice_ce_backward: Callable[..., Tensor]
    most_classes_of_dice_ce: int

    def fuses_dice_ce_of(self, logits: Tensor) -> bool:
        """Whether it has the kernels of the fused loss for these logits, ``[B, C, *spatial]``."""
        return 0 < logits.shape[1] <= self.most_classes_of_dice_ce
