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
from scnp_kernels import SCNPDiceCELoss, scnp

__all__ = [
    "JOINT",
    "LOSSES",
    "MODES",
    "OFF",
    "ON",
    "WARM_UP",
    "LossFactory",
    "SegmentationLoss",
    "build_loss",
    "penalized",
    "term_weights",
]


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

OFF, ON, JOINT, WARM_UP = "off", "on", "joint", "warm_up"
MODES = (OFF, ON, JOINT, WARM_UP)
WARM_UP_SHARE = 0.5  # of the iterations that a warm-up trains with the plain loss


def term_weights(mode: str, progress: float) -> tuple[float, float]:
    """The weights of the loss on SCNP logits and of the loss on plain ones, at a progress.

    Raises:
        ValueError: ``mode`` is another than those of MODES.

    Example:
        >>> [term_weights("warm_up", progress) for progress in (0.0, 0.49, 0.5)]
        [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0)]
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, takes one of {', '.join(map(repr, MODES))}")
    if mode == WARM_UP:
        mode = OFF if progress < WARM_UP_SHARE else ON
    return {OFF: (0.0, 1.0), ON: (1.0, 0.0), JOINT: (1.0, 1.0)}[mode]


def build_loss(
    name: str,
    classes: int,
    spatial_dimensions: int,
    mode: str,
    kernel_size: int | tuple[int, ...] = 3,
) -> SegmentationLoss:
    """One of LOSSES in one of MODES; CE + Dice fused with SCNP, which is the same and faster.

    Raises ValueError as they do.

    Example:
        >>> import torch
        >>> loss = build_loss("ce_dice", 2, 2, "joint", kernel_size=3)
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)  # [B, C, H, W]
        >>> label_map = torch.randint(0, 2, (1, 8, 8))            # [B, H, W]
        >>> loss(logits, label_map, 0.5).backward()
    """
    loss = LOSSES[name](classes, spatial_dimensions)
    term_weights(mode, 0.0)
    if name != "ce_dice":
        return penalized(loss, mode, kernel_size)
    criterion = SCNPDiceCELoss(kernel_size)

    def fused(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:
        on_scnp, plain = term_weights(mode, progress)
        value: Tensor = criterion(logits, label_map, scnp_weight=on_scnp, plain_weight=plain)
        return value

    return fused


def penalized(
    loss: SegmentationLoss, mode: str, kernel_size: int | tuple[int, ...] = 3
) -> SegmentationLoss:
    """The loss on plain logits, on SCNP logits, or both, with the weights of a mode.

    "off" is the plain loss, "on" the one on SCNP logits, "joint" the sum of both, and "warm_up" the
    plain one in the first half of the iterations and then the one on SCNP logits.

    Raises:
        ValueError: ``mode`` is another.
    """
    term_weights(mode, 0.0)
    if mode == OFF:
        return loss

    def penalized_loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:
        on_scnp, plain = term_weights(mode, progress)
        if not on_scnp:
            return loss(logits, label_map, progress)
        value = loss(scnp(logits, label_map, kernel_size), label_map, progress)
        return value + loss(logits, label_map, progress) if plain else value

    return penalized_loss
