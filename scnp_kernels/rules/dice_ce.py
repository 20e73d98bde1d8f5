"""The statistics of an image that the fused losses are made of, by plain PyTorch.

A loss needs no more of an image than six numbers per class, each a sum over its pixels. Plain
PyTorch computes them here, fused kernels elsewhere; :mod:`.loss_parts` makes losses of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import focal
from .target import Reading, foreground_pixels, valid_pixels
from .window import winner_dtype


class Statistics(NamedTuple):
    """Sums over the valid pixels of every image and class; p is the probability, y the mask.

    Cross entropy is ``-log p`` with softmax, where only foreground pixels have one. With sigmoid
    it is ``softplus(-logit)`` where ``y = 1``, and ``softplus(logit)`` where ``y = 0``. The focal
    loss's gamma modulates it (:mod:`.focal`).
    """

    intersection: Tensor  # [B, C]: sum of p * y
    probability: Tensor  # [B, C]: sum of p
    foreground: Tensor  # [B, C]: number of pixels with y = 1
    foreground_ce: Tensor  # [B, C]: cross entropy where y = 1
    background_ce: Tensor  # [B, C]: cross entropy where y = 0; 0 with softmax
    valid: Tensor  # [B, C]: number of valid pixels


STATISTICS = len(Statistics._fields)


class Wanted(NamedTuple):
    """Which statistics are wanted. The operators' schemas hold its fields one by one."""

    softmax: bool  # probabilities by softmax over the channels; otherwise by sigmoid
    of_penalized: bool  # statistics of the penalized logits
    of_plain: bool  # statistics of the plain logits
    gamma: float = 0.0  # of the focal loss, which modulates cross entropy; 0 leaves it as it is


def statistics_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype of the statistics: float64, or float32 on devices without it (MPS)."""
    return torch.float32 if logits.device.type == "mps" else torch.float64


def new_winners(logits: Tensor, kernel_size: Sequence[int], of_penalized: bool) -> Tensor:
    """Return new winners for logits ``[B, C, *spatial]``; ``[B, 0]`` if nothing is penalized."""
    dtype = winner_dtype(kernel_size)
    if of_penalized:
        return torch.empty_like(logits, dtype=dtype)
    return logits.new_empty((logits.shape[0], 0), dtype=dtype)


def stack_statistics(statistics: Statistics) -> Tensor:
    """Return the statistics as ``[6, B, C]``, in the order of their fields."""
    return torch.stack(tuple(statistics))


def unstack_statistics(stacked: Tensor) -> Statistics:
    """Return the statistics that :func:`stack_statistics` made ``[6, B, C]`` of."""
    return Statistics(*stacked.unbind())


def masks_and_valid(
    logits: Tensor, target: Tensor, mask: Tensor | None, reading: Reading
) -> tuple[Tensor, Tensor | None]:
    """Return one bool mask per class ``[B, C, *spatial]``, and which pixels are valid.

    Valid is ``[B, 1, *spatial]``, or None when all are.
    """
    masks = foreground_pixels(logits, target, reading)
    if mask is None and reading.ignore_index is None:
        return masks, None
    return masks, valid_pixels(logits, target, mask, reading)


def statistics_of(
    logits: Tensor, masks: Tensor, valid: Tensor | None, wanted: Wanted
) -> Statistics:
    """Return the statistics by plain PyTorch, in float32, or float64 for float64 logits.

    ``logits`` and ``masks`` (bool) are ``[B, C, *spatial]``, ``valid`` ``[B, 1, *spatial]``.
    """
    logits = _widened(logits)
    zero = logits.new_zeros(())
    if wanted.gamma != 0 and logits.shape[1] > 0:
        probability, foreground_ce, background_ce = focal.entropies(
            logits, wanted.softmax, wanted.gamma
        )
    elif wanted.softmax:
        log_probability = F.log_softmax(logits, dim=1)
        probability = log_probability.exp()
        foreground_ce, background_ce = -log_probability, zero.expand_as(logits)
    else:
        probability = logits.sigmoid()
        # softplus would drop the small part of large values.
        foreground_ce, background_ce = -F.logsigmoid(logits), -F.logsigmoid(-logits)
    foreground, background = masks, ~masks
    if valid is not None:
        foreground, background = masks & valid, background & valid
        # Chosen by where, not by a product: what stands at an invalid pixel may be infinite.
        probability = torch.where(valid, probability, zero)

    def over_pixels(values: Tensor) -> Tensor:
        return values.flatten(2).sum(dim=2)

    if valid is None:
        pixels = logits.new_full(logits.shape[:2], math.prod(logits.shape[2:]))
    else:
        pixels = over_pixels(valid.expand_as(logits)).to(logits.dtype)
    return Statistics(
        intersection=over_pixels(torch.where(foreground, probability, zero)),
        probability=over_pixels(probability),
        foreground=over_pixels(foreground).to(logits.dtype),
        foreground_ce=over_pixels(torch.where(foreground, foreground_ce, zero)),
        background_ce=over_pixels(torch.where(background, background_ce, zero)),
        valid=pixels,
    )


def gradient_of_statistics(
    statistics_gradient: Tensor,
    logits: Tensor,
    masks: Tensor,
    valid: Tensor | None,
    wanted: Wanted,
) -> Tensor:
    """Return the gradient of the logits, given that of their statistics ``[6, B, C]``.

    With p a pixel's probability, a the gradient of p, y the pixel's mask, dE the gradient of
    ``foreground_ce`` and dN that of ``background_ce``:

        softmax   p * (a - sum of p * a + sum of y * dE) - y * dE       (sums over the classes)
        sigmoid   p * (1 - p) * a + (p - 1) * y * dE + p * (1 - y) * dN

    With gamma, dE and dN are multiplied by the slopes of :mod:`.focal` first.

    The result is in float32, or float64 for float64 logits.
    """
    logits = _widened(logits)
    per_class = (*logits.shape[:2], *(1,) * (logits.dim() - 2))
    gradient = statistics_gradient.to(logits.dtype).view(STATISTICS, *per_class)
    intersection, probability, _, foreground_ce, background_ce, _ = gradient.unbind()
    zero = logits.new_zeros(())
    of_probability = probability + torch.where(masks, intersection, zero)
    of_foreground = torch.where(masks, foreground_ce, zero)
    of_background = torch.where(masks, zero, background_ce)
    if wanted.gamma != 0 and logits.shape[1] > 0:
        of_foreground_ce, of_background_ce = focal.slopes(logits, wanted.softmax, wanted.gamma)
        of_foreground = torch.where(masks, of_foreground * of_foreground_ce, zero)
        of_background = torch.where(masks, zero, of_background * of_background_ce)
    if wanted.softmax:
        p = logits.softmax(dim=1)
        shared = of_foreground.sum(dim=1, keepdim=True)
        shared = shared - (p * of_probability).sum(dim=1, keepdim=True)
        result = p * (of_probability + shared) - of_foreground
    else:
        p = logits.sigmoid()
        result = p * (1 - p) * of_probability + (p - 1) * of_foreground + p * of_background
    return result if valid is None else torch.where(valid, result, zero)


def _widened(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
