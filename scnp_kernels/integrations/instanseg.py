"""SCNP under names that InstanSeg's string-dispatched losses understand.

InstanSeg chooses the loss of its instances' masks by a string, at construction and again after its
hot start, both times through ``InstanSeg.update_binary_loss``. :func:`enable` teaches that method
new names, so the choice survives:

    from scnp_kernels.integrations.instanseg import enable
    enable()
    method = InstanSeg(binary_loss_fn_str="scnp_dice_ce")

``python -m scnp_kernels.integrations.instanseg ...`` is InstanSeg's training script with the names
enabled. Importing this module does not import InstanSeg.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..modules import SCNPLoss
from ..rules.arguments import KernelSize

PREFIX = "scnp_"

# InstanSeg's own losses that can be penalized, by its own names. Its "binary_xloss" and
# "general_dice_loss" cannot be called in 0.1.2; the first is provided here.
THEIR_NAMES = ("dice_loss", "dicefocal_loss", "lovasz_hinge")

# What a smoothing term must be for classes of a few pixels: small beside one pixel.
_SMOOTH = 1e-5


def binary_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean over instances and pixels of ``[N, 1, H, W]`` logits and bool masks ``[N, H, W]``."""
    return F.binary_cross_entropy_with_logits(logits[:, 0], masks.to(logits.dtype))


def dice_and_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy plus ``1 - Dice``, averaged over instances, of the same arguments.

    Example:
        >>> import torch
        >>> logits, masks = torch.full((2, 1, 4, 4), 20.0), torch.ones(2, 4, 4, dtype=torch.bool)
        >>> bool(dice_and_cross_entropy(logits, masks) < 1e-6)
        True
    """
    probabilities, wanted = logits[:, 0].float().sigmoid(), masks.float()  # [N, H, W]
    intersection = (probabilities * wanted).sum((1, 2))  # [N]
    total = probabilities.sum((1, 2)) + wanted.sum((1, 2))
    dice = (2 * intersection + _SMOOTH) / (total + _SMOOTH)
    return binary_cross_entropy(logits, masks) + (1 - dice).mean()


_OUR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice_ce": dice_and_cross_entropy,
    "binary_xloss": binary_cross_entropy,
}

# The names that enable() adds.
NAMES = tuple(PREFIX + name for name in (*_OUR_LOSSES, *THEIR_NAMES))


def enable(kernel_size: KernelSize = 3, *, plain_weight: float = 0.0) -> None:
    """Add SCNP's losses to the names that ``binary_loss_fn_str`` takes.

    ``scnp_dice_ce`` and ``scnp_binary_xloss`` are ours. ``scnp_dice_loss``,
    ``scnp_dicefocal_loss`` and ``scnp_lovasz_hinge`` are InstanSeg's own losses on penalized
    logits. Call it before training starts;
    called again, it replaces the settings for losses chosen from then on.

    Args:
        kernel_size: SCNP's window, in pixels of an instance's crop.
        plain_weight: Weight of the same loss on plain logits; 1 is the paper's joint loss.

    Raises:
        ModuleNotFoundError: InstanSeg is not installed.
        TypeError, ValueError: A setting is one that :class:`scnp_kernels.SCNPLoss` does not take.
    """
    from instanseg.utils.loss.instanseg_loss import InstanSeg

    SCNPLoss(binary_cross_entropy, kernel_size, plain_weight=plain_weight)  # checks the settings
    update = InstanSeg.update_binary_loss
    original = getattr(update, "without_scnp", update)

    @wraps(original)
    def update_binary_loss(self: Any, binary_loss_fn_str: str) -> None:
        if not binary_loss_fn_str.startswith(PREFIX):
            original(self, binary_loss_fn_str)
            return
        if binary_loss_fn_str not in NAMES:
            raise ValueError(
                f"binary_loss_fn_str: got {binary_loss_fn_str!r}, takes one of InstanSeg's names "
                f"or {', '.join(NAMES)}"
            )
        name = binary_loss_fn_str.removeprefix(PREFIX)
        if name in _OUR_LOSSES:
            loss = _OUR_LOSSES[name]
        else:
            original(self, name)
            loss = _on_floats(self.binary_loss_fn)
        self.binary_loss_fn = _of_crops(SCNPLoss(loss, kernel_size, plain_weight=plain_weight))

    update_binary_loss.without_scnp = original  # type: ignore[attr-defined]
    InstanSeg.update_binary_loss = update_binary_loss


def _on_floats(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """InstanSeg's own losses take the masks as floats."""
    return lambda logits, masks: loss(logits, masks.to(logits.dtype))


def _of_crops(criterion: SCNPLoss) -> Callable[..., Tensor]:
    """How InstanSeg calls: logits ``[N, 1, H, W]``, float masks ``[N, H, W]``, and more."""

    def binary_loss_fn(pred: Tensor, gt: Tensor, **_: Any) -> Tensor:
        loss: Tensor = criterion(pred, gt > 0.5)
        return loss

    return binary_loss_fn


def main() -> None:
    """InstanSeg's training script, with the names enabled."""
    from instanseg.scripts.train import instanseg_training

    enable()
    instanseg_training()


if __name__ == "__main__":
    main()
