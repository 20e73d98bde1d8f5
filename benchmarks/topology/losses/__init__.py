"""The nine losses that the paper compares, each plain, on SCNP logits, or jointly."""

from __future__ import annotations

from torch import Tensor

from benchmarks.topology.losses.library_losses import (
    cldice,
    cross_entropy,
    dice,
    dice_cross_entropy,
    focal,
    tversky,
)
from benchmarks.topology.losses.regionwise import region_wise
from benchmarks.topology.losses.segmentation_loss import LossFactory, SegmentationLoss
from benchmarks.topology.losses.skeleton_recall import skeleton_recall
from benchmarks.topology.losses.topoloss import topoloss
from scnp_kernels import scnp

__all__ = ["LOSSES", "MODES", "LossFactory", "SegmentationLoss", "penalized"]


def _checked(build: LossFactory) -> LossFactory:
    def checked(classes: int, spatial_dimensions: int) -> SegmentationLoss:
        if classes < 2:
            raise ValueError(f"classes: got {classes}, takes 2 or more (background is one)")
        if spatial_dimensions not in (2, 3):
            raise ValueError(f"spatial_dimensions: got {spatial_dimensions}, takes 2 or 3")
        return build(classes, spatial_dimensions)

    return checked


# Each raises ValueError unless there are two classes or more, in 2D or 3D.
LOSSES: dict[str, LossFactory] = {
    "ce": _checked(lambda *_: cross_entropy()),
    "dice": _checked(lambda *_: dice()),
    "ce_dice": _checked(lambda *_: dice_cross_entropy()),
    "tversky": _checked(lambda *_: tversky()),
    "focal": _checked(lambda *_: focal()),
    "cldice": _checked(lambda *_: cldice()),
    "skeleton_recall": _checked(lambda *_: skeleton_recall()),
    "topoloss": _checked(lambda _, dimensions: topoloss(dimensions)),
    "regionwise": _checked(lambda classes, _: region_wise(classes)),
}

OFF, ON, JOINT = "off", "on", "joint"
MODES = (OFF, ON, JOINT)


def penalized(
    loss: SegmentationLoss, mode: str, kernel_size: int | tuple[int, ...] = 3
) -> SegmentationLoss:
    """The loss on plain logits ("off"), on SCNP logits ("on"), or the sum of both ("joint").

    Raises:
        ValueError: ``mode`` is another.

    Example:
        >>> import torch
        >>> loss = penalized(LOSSES["ce"](2, 2), "joint", kernel_size=3)
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)  # [B, C, H, W]
        >>> label_map = torch.randint(0, 2, (1, 8, 8))            # [B, H, W]
        >>> loss(logits, label_map, 0.5).backward()
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, takes one of {', '.join(map(repr, MODES))}")
    if mode == OFF:
        return loss

    def penalized_loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:
        value = loss(scnp(logits, label_map, kernel_size), label_map, progress)
        return value if mode == ON else value + loss(logits, label_map, progress)

    return penalized_loss
