"""What every loss of the benchmark is: a function of logits, labels and the progress made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

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


def one_hot(label_map: Tensor, classes: int) -> Tensor:
    """The label map [B, *spatial] as bool masks [B, C, *spatial]."""
    shape = (classes,) + (1,) * (label_map.dim() - 1)
    labels = torch.arange(classes, device=label_map.device).reshape(shape)  # [C, 1, ...]
    return label_map.unsqueeze(1) == labels
