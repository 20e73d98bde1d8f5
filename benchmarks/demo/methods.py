"""The three losses that the demo compares."""

from __future__ import annotations

from monai.losses.dice import DiceCELoss
from torch import nn

from scnp_kernels import SCNPLoss

PLAIN = "Dice+CE"
SCNP = "Dice+CE on SCNP"
JOINT = "joint"
METHODS = (PLAIN, SCNP, JOINT)


def dice_ce() -> nn.Module:
    """MONAI's Dice + cross-entropy; logits [B, 2, H, W], target [B, 1, H, W] of 0 and 1."""
    loss: nn.Module = DiceCELoss(to_onehot_y=True, softmax=True)
    return loss


def build_loss(method: str, kernel_size: int) -> nn.Module:
    """The loss of `method`, one of METHODS. Wrapping a loss is all that SCNP asks for."""
    if method == PLAIN:
        return dice_ce()
    if method == SCNP:
        return SCNPLoss(dice_ce(), kernel_size=kernel_size)
    if method == JOINT:
        return SCNPLoss(dice_ce(), kernel_size=kernel_size, plain_weight=1.0)
    raise ValueError(f"method: got {method!r}, takes one of {', '.join(map(repr, METHODS))}")
