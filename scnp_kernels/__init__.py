"""SCNP: same-class neighbour penalization for segmentation networks, as one kernel each way.

>>> import torch
>>> from scnp_kernels import scnp
>>> logits = torch.tensor([[[0.9, 0.2, -0.4, 0.8]]])  # [B=1, C=1, W=4]
>>> target = torch.tensor([[1, 1, 0, 0]])             # [B=1, W=4]
>>> scnp(logits, target)
tensor([[[0.2000, 0.2000, 0.8000, 0.8000]]])
"""

from . import reference
from ._version import __version__
from .backends.registry import backends
from .functional import scnp
from .losses import (
    SCNPDiceCELoss,
    SCNPFocalLoss,
    SCNPTverskyLoss,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)
from .modules import SCNP, SCNPLoss

__all__ = [
    "SCNP",
    "SCNPDiceCELoss",
    "SCNPFocalLoss",
    "SCNPLoss",
    "SCNPTverskyLoss",
    "__version__",
    "backends",
    "reference",
    "scnp",
    "scnp_dice_ce_loss",
    "scnp_focal_loss",
    "scnp_tversky_loss",
]
