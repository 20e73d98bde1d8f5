"""The fused losses on SCNP logits: Dice + cross entropy, Tversky, focal.

They are made of the same statistics of an image, which one pass over it gives, and share all
options but a few. Each is a class and a function of its own, and its own options have the names
that MONAI's users know: one class with all of them would have options that only some losses read.
docs/losses.md says which one to take.
"""

from .functions import scnp_dice_ce_loss, scnp_focal_loss, scnp_tversky_loss
from .modules import SCNPDiceCELoss, SCNPFocalLoss, SCNPTverskyLoss

__all__ = [
    "SCNPDiceCELoss",
    "SCNPFocalLoss",
    "SCNPTverskyLoss",
    "scnp_dice_ce_loss",
    "scnp_focal_loss",
    "scnp_tversky_loss",
]
