"""Region-wise loss: the probabilities, weighed by a map of distances to the border."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from benchmarks.topology.losses.segmentation_loss import SegmentationLoss, one_hot


def region_wise(classes: int) -> SegmentationLoss:
    """Region-wise loss with rectified maps (Valverde and Tohka, Pattern Recognition 2023).

    The mean over images, classes and pixels of ``softmax(z) * map``, by their Eq. 1 and their
    rectified region-wise (RRW) map: outside of the class 1, inside the distance to the class's
    border over the largest such distance in the image, negative. The best loss is below 0.
    """

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:  # noqa: ARG001
        maps = rectified_maps(label_map, classes).to(logits.dtype)
        return (logits.softmax(1) * maps).mean()

    return loss


def rectified_maps(label_map: Tensor, classes: int) -> Tensor:
    """The map of every image and class, float32 [B, C, *spatial], for a label map [B, *spatial]."""
    masks = one_hot(label_map, classes).cpu().numpy()
    maps = np.stack([[_rectified_map(mask) for mask in image] for image in masks])
    return torch.from_numpy(maps).to(label_map.device)


def _rectified_map(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The map of one class [*spatial]. Where the class is everywhere it has no border: all -1."""
    if mask.all():
        return np.full(mask.shape, -1, np.float32)
    if not mask.any():
        return np.ones(mask.shape, np.float32)
    distance = distance_transform_edt(mask)
    rectified: npt.NDArray[np.float32] = np.where(mask, -distance / distance.max(), 1)
    return rectified.astype(np.float32)
