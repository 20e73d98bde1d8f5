"""Losses that look at one pixel at a time: cross entropy and Focal."""

from __future__ import annotations

from monai.losses.focal_loss import FocalLoss
from torch import Tensor
from torch.nn import functional

from benchmarks.topology.losses.segmentation_loss import (
    SegmentationLoss,
    check_dimensions,
    of_label_map,
)

GAMMA = 2.0


def cross_entropy(classes: int, spatial_dimensions: int) -> SegmentationLoss:
    """Cross entropy of the softmax, the mean over pixels of ``-log p(truth)``; torch's."""
    check_dimensions(classes, spatial_dimensions)

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:  # noqa: ARG001
        return functional.cross_entropy(logits, label_map)

    return loss


def focal(classes: int, spatial_dimensions: int) -> SegmentationLoss:
    """Focal loss (Lin et al., ICCV 2017, Eq. 4), gamma = 2, of the softmax; MONAI's.

    ``-(1 - p)^gamma log p`` for the truth's probability p. MONAI takes the mean over pixels and
    classes, of which all but the true one add 0.
    """
    check_dimensions(classes, spatial_dimensions)
    return of_label_map(FocalLoss(gamma=GAMMA, to_onehot_y=True, use_softmax=True))
