"""What every loss of the benchmark is: a function of logits, labels and the progress made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

BACKGROUND = 0


class SegmentationLoss(Protocol):
    """A loss on logits. Losses apply softmax themselves, so that SCNP can stand before them."""

    def __call__(self, logits: Tensor, label_map: Tensor, progress: float) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: ``[B, C, *spatial]``, float32.
            label_map: ``[B, *spatial]``, int64, classes 0 (background) to C - 1.
            progress: The share of the iterations that are done, 0 to 1.
        """


LossFactory = Callable[[int, int], SegmentationLoss]  # (classes, spatial dimensions)


def check_dimensions(classes: int, spatial_dimensions: int) -> None:
    """Raises ValueError unless there are two classes or more, in 2D or 3D."""
    if classes < 2:
        raise ValueError(f"classes: got {classes}, takes 2 or more (background is one)")
    if spatial_dimensions not in (2, 3):
        raise ValueError(f"spatial_dimensions: got {spatial_dimensions}, takes 2 or 3")


def of_label_map(module: nn.Module) -> SegmentationLoss:
    """One of MONAI's losses, which take the label map as ``[B, 1, *spatial]``."""

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:  # noqa: ARG001
        value: Tensor = module(logits, label_map.unsqueeze(1))
        return value

    return loss


def one_hot(label_map: Tensor, classes: int) -> Tensor:
    """The label map [B, *spatial] as bool masks [B, C, *spatial]."""
    shape = (classes,) + (1,) * (label_map.dim() - 1)
    labels = torch.arange(classes, device=label_map.device).reshape(shape)  # [C, 1, ...]
    return label_map.unsqueeze(1) == labels
