"""The losses of the paper's own code, written out from its formulas; nothing of ``scnp_kernels``.

The code takes the logarithm of a probability with 1e-15 added, counts -Dice where 1 - Dice is
usual, and knows no ignored pixels. Dice is taken per image and class, the background counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.oracle import listing

SMALL_IN_LOGARITHM, SMALL_IN_DICE = 1e-15, 1e-5


def softmax_dice_ce(
    logits: Tensor, labels: Tensor, kernel_size: int | Sequence[int] | None = 3
) -> Tensor:
    """nnU-Net's and Detectron2's: logits ``[B, C, *spatial]``, labels ``[B, 1, *spatial]``.

    On plain logits where ``kernel_size`` is None.
    """
    one_hot = torch.zeros_like(logits).scatter_(1, labels.long(), 1.0)
    worst = logits if kernel_size is None else listing(logits, one_hot, kernel_size)
    probabilities = worst.softmax(1)
    pixels = (0, *range(2, logits.dim()))
    cross_entropy = -(one_hot * (probabilities + SMALL_IN_LOGARITHM).log()).mean(pixels).sum()
    return cross_entropy - _dice(probabilities, one_hot)


def sigmoid_dice_ce(
    logits: Tensor, masks: Tensor, kernel_size: int | Sequence[int] | None = 3
) -> Tensor:
    """InstanSeg's: logits ``[N, 1, H, W]`` of one crop per instance, masks ``[N, H, W]``."""
    wanted = masks.unsqueeze(1).to(logits.dtype)
    worst = logits if kernel_size is None else listing(logits, wanted, kernel_size)
    probabilities = worst.sigmoid()
    cross_entropy = -(
        wanted * (probabilities + SMALL_IN_LOGARITHM).log()
        + (1 - wanted) * (1 - probabilities + SMALL_IN_LOGARITHM).log()
    ).mean()
    return cross_entropy - _dice(probabilities, wanted)


def _dice(probabilities: Tensor, wanted: Tensor) -> Tensor:
    pixels = tuple(range(2, wanted.dim()))
    twice = 2 * (probabilities * wanted).sum(pixels) + SMALL_IN_DICE  # [B, C]
    return (twice / (wanted.sum(pixels) + probabilities.sum(pixels) + SMALL_IN_DICE)).mean()
