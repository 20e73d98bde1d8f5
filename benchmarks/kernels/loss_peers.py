"""Dice + cross entropy as people write it, plain and on the listing's logits: the loss's peers.

Tversky and focal, too, to check ours by.

Shares no code with scnp_kernels. Softmax, mean over images and classes, smooth 1e-5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import peers

SMOOTH = 1e-5

Loss = Callable[[Tensor, Tensor], Tensor]  # logits [B, C, *spatial], label map [B, *spatial]


def dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """The fastest form of those that were tried in plain PyTorch: masks by comparison."""
    return _dice_ce_of_masks(logits, labels, _masks(logits, labels))


def listing_dice_ce(logits: Tensor, labels: Tensor, kernel_size: int) -> Tensor:
    """The same on the paper's listing, which needs the masks anyway."""
    masks = _masks(logits, labels)
    return _dice_ce_of_masks(peers.listing(logits, masks, kernel_size), labels, masks)


def on_listing(loss: Loss, logits: Tensor, labels: Tensor, kernel_size: int = 3) -> Tensor:
    """A loss on the paper's listing."""
    return loss(peers.listing(logits, _masks(logits, labels), kernel_size), labels)


def sum_of_terms(loss: Loss, penalized: bool, plain: bool, kernel_size: int = 3) -> Loss:
    """A loss on the listing, or without it, or both: what others have to agree with."""

    def total(logits: Tensor, labels: Tensor) -> Tensor:
        value = logits.new_zeros(())
        if penalized:
            value = value + on_listing(loss, logits, labels, kernel_size)
        return value + loss(logits, labels) if plain else value

    return total


def tversky(logits: Tensor, labels: Tensor, alpha: float = 0.3, beta: float = 0.7) -> Tensor:
    """Salehi et al., 2017: the mean over images and classes of 1 - index."""
    probability, masks = logits.softmax(dim=1), _masks(logits, labels)
    spatial = tuple(range(2, logits.dim()))
    hit = (probability * masks).sum(spatial)
    surplus = alpha * (probability * (1 - masks)).sum(spatial)
    missed = beta * ((1 - probability) * masks).sum(spatial)
    return 1 - ((hit + SMOOTH) / (hit + surplus + missed + SMOOTH)).mean()


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Lin et al., 2017, with softmax: the mean over pixels and classes."""
    logarithm = logits.log_softmax(dim=1)
    modulated = (1 - logarithm.exp()) ** gamma * logarithm
    return -(modulated * _masks(logits, labels)).mean()


def monai_dice_ce() -> Loss:
    """The library's, which most people train with; imported here, since a GPU machine lacks it."""
    from monai.losses.dice import DiceCELoss

    criterion = DiceCELoss(softmax=True, to_onehot_y=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = criterion(logits, labels.unsqueeze(1))
        return value

    return loss


def _masks(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C, *spatial], in the dtype of the logits."""
    classes = torch.arange(logits.shape[1], device=logits.device).view(
        -1, *(1,) * (logits.dim() - 2)
    )
    return (labels.unsqueeze(1) == classes).to(logits.dtype)


def _dice_ce_of_masks(logits: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    probability = logits.softmax(dim=1)
    masks = masks.to(probability.dtype)  # wider than the logits' in mixed precision
    spatial = tuple(range(2, logits.dim()))
    intersection = (probability * masks).sum(spatial)
    cardinality = probability.sum(spatial) + masks.sum(spatial)
    dice = (2 * intersection + SMOOTH) / (cardinality + SMOOTH)
    return F.cross_entropy(logits, labels) + 1 - dice.mean()
