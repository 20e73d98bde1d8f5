"""Losses of overlap: Dice, Dice + cross entropy, and Tversky."""

from __future__ import annotations

from monai.losses.dice import DiceCELoss, DiceLoss
from monai.losses.tversky import TverskyLoss

from benchmarks.topology.losses.segmentation_loss import (
    SegmentationLoss,
    check_dimensions,
    of_label_map,
)

ALPHA = 0.3
BETA = 0.7


def dice(classes: int, spatial_dimensions: int) -> SegmentationLoss:
    """Soft Dice loss (Milletari et al., 3DV 2016, without the squares), of all classes; MONAI's.

    ``1 - 2 sum(p y) / (sum(p) + sum(y))`` per image and class, then the mean.
    """
    check_dimensions(classes, spatial_dimensions)
    return of_label_map(DiceLoss(to_onehot_y=True, softmax=True))


def dice_cross_entropy(classes: int, spatial_dimensions: int) -> SegmentationLoss:
    """The sum of Dice and cross entropy, the usual loss (Isensee et al., 2021); MONAI's."""
    check_dimensions(classes, spatial_dimensions)
    return of_label_map(DiceCELoss(to_onehot_y=True, softmax=True))


def tversky(
    classes: int, spatial_dimensions: int, alpha: float = ALPHA, beta: float = BETA
) -> SegmentationLoss:
    """Tversky loss (Salehi et al., MLMI 2017, Eq. 4), of all classes; MONAI's.

    ``1 - TP / (TP + alpha FP + beta FN)`` per image and class, then the mean. The default weights
    are those that its authors found best: a miss costs more than a false alarm.
    """
    check_dimensions(classes, spatial_dimensions)
    return of_label_map(TverskyLoss(to_onehot_y=True, softmax=True, alpha=alpha, beta=beta))
