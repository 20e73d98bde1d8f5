"""Skeleton Recall: how much of the truth's thickened skeleton the prediction finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import binary_dilation, generate_binary_structure
from torch import Tensor

from benchmarks.topology.losses.library_losses import dice_cross_entropy
from benchmarks.topology.losses.segmentation_loss import BACKGROUND, SegmentationLoss, one_hot
from scnp_kernels.metrics.skeleton import skeleton

TUBE_RADIUS = 2  # pixels around the skeleton
WEIGHT = 1.0
SMOOTH = 1e-5


def skeleton_recall() -> SegmentationLoss:
    """Dice + cross entropy + Skeleton Recall (Kirchhoff et al., ECCV 2024, Section 3, Eq. 3 and 4).

    The foreground's skeleton is thickened by 2 pixels and cut to the classes of the truth: the
    tubed skeleton. The loss adds ``1 - sum(p tube) / sum(tube)``, the recall taken per image and
    foreground class and then averaged, with weight 1. A class that an image lacks has recall 1.
    Its authors' loss is the same less a constant.
    """
    segmentation = dice_cross_entropy()

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:
        recall = soft_recall(logits.softmax(1), label_map, tubed_skeleton(label_map))
        return segmentation(logits, label_map, progress) + WEIGHT * (1 - recall)

    return loss


def tubed_skeleton(label_map: Tensor) -> Tensor:
    """Where the thickened skeleton of each image's foreground runs, bool [B, *spatial]."""
    foreground = (label_map != BACKGROUND).cpu().numpy()
    tubes = np.stack([_tube(mask) for mask in foreground])
    return torch.from_numpy(tubes).to(label_map.device)


def _tube(foreground: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The thickened skeleton of one mask [*spatial], inside the mask."""
    cross = generate_binary_structure(foreground.ndim, 1)
    tube: npt.NDArray[np.bool_] = binary_dilation(
        skeleton(foreground), cross, iterations=TUBE_RADIUS
    )
    return tube & foreground


def soft_recall(probabilities: Tensor, label_map: Tensor, tube: Tensor) -> Tensor:
    """The mean over images and foreground classes of the tube's share that is found, a scalar.

    probabilities [B, C, *spatial]; label_map and tube (bool) [B, *spatial].
    """
    masks = one_hot(label_map, probabilities.shape[1]) & tube.unsqueeze(1)
    masks = masks[:, BACKGROUND + 1 :].flatten(2).to(probabilities.dtype)  # [B, C - 1, N]
    found = (probabilities[:, BACKGROUND + 1 :].flatten(2) * masks).sum(2)  # [B, C - 1]
    return ((found + SMOOTH) / (masks.sum(2) + SMOOTH)).mean()
