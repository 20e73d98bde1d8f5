"""Dice and cross entropy from a few sums over pixels: the sums, and the loss made of them.

The sums are all that a loss needs of an image, ``[B, C]`` each; whoever computes them (plain
PyTorch here, a fused kernel elsewhere) shares the same last step, :func:`loss_from_sums`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .target import foreground_pixels, valid_pixels
from .window import winner_dtype


class Sums(NamedTuple):
    """Over the valid pixels of every image and class; p is the probability, y the target's mask.

    ``positive`` is softmax's cross entropy ``-log p`` summed where ``y = 1``, or sigmoid's
    ``softplus(-logit)``; ``negative`` is sigmoid's ``softplus(logit)`` summed where ``y = 0``
    (softmax: 0).
    """

    intersection: Tensor  # [B, C]: sum of p * y
    probability: Tensor  # [B, C]: sum of p
    foreground: Tensor  # [B, C]: number of pixels with y = 1
    positive: Tensor  # [B, C]
    negative: Tensor  # [B, C]
    valid: Tensor  # [B]: number of valid pixels


class DiceCEOptions(NamedTuple):
    """What the loss is made of; see :class:`scnp_kernels.SCNPDiceCELoss`."""

    activation: str
    ce_weight: float
    dice_weight: float
    include_background: bool
    batch_dice: bool
    smooth: float
    sum_over_ranks: bool


def sums_dtype(logits: Tensor) -> torch.dtype:
    """Of the sums on the device of the logits: float64, except where there is none."""
    return torch.float32 if logits.device.type == "mps" else torch.float64


def new_winners(logits: Tensor, kernel_size: Sequence[int], of_penalized: bool) -> Tensor:
    """Room for the winners of logits ``[B, C, *spatial]``; ``[B, 0]`` if nothing is penalized."""
    dtype = winner_dtype(kernel_size)
    if of_penalized:
        return torch.empty_like(logits, dtype=dtype)
    return logits.new_empty((logits.shape[0], 0), dtype=dtype)


def stack_sums(sums: Sums) -> Tensor:
    """``[6, B, C]``, in the order of the fields."""
    *by_class, valid = sums
    return torch.stack((*by_class, valid.unsqueeze(1).expand_as(by_class[0])))


def unstack_sums(stacked: Tensor) -> Sums:
    """From ``[6, B, C]``."""
    intersection, probability, foreground, positive, negative, valid = stacked.unbind()
    return Sums(intersection, probability, foreground, positive, negative, valid[:, :1].sum(dim=1))


def masks_and_valid(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    target_is_masks: bool,
    first_class: int,
    ignore_index: int | None,
) -> tuple[Tensor, Tensor | None]:
    """The target as one bool mask per class ``[B, C, *spatial]``, and which pixels are valid.

    Valid is ``[B, 1, *spatial]``, or None when all are.
    """
    masks = foreground_pixels(logits, target, target_is_masks, first_class)
    if mask is None and ignore_index is None:
        return masks, None
    return masks, valid_pixels(logits, target, mask, target_is_masks, ignore_index)


def sums_of(logits: Tensor, masks: Tensor, valid: Tensor | None, softmax: bool) -> Sums:
    """The sums in plain PyTorch; in float32, or float64 for float64 logits.

    ``logits`` and ``masks`` (bool) are ``[B, C, *spatial]``, ``valid`` ``[B, 1, *spatial]``.
    """
    logits = _widened(logits)
    zero = logits.new_zeros(())
    if softmax:
        log_probability = F.log_softmax(logits, dim=1)
        probability = log_probability.exp()
        positive, negative = -log_probability, zero.expand_as(logits)
    else:
        probability = logits.sigmoid()
        # Not softplus, which drops the small part of large values.
        positive, negative = -F.logsigmoid(logits), -F.logsigmoid(-logits)
    foreground, background = masks, ~masks
    if valid is not None:
        foreground, background = masks & valid, background & valid
        # Chosen, not multiplied: what stands at an invalid pixel may be infinite.
        probability = torch.where(valid, probability, zero)

    def over_pixels(values: Tensor) -> Tensor:
        return values.flatten(2).sum(dim=2)

    if valid is None:
        pixels = logits.new_full((logits.shape[0],), math.prod(logits.shape[2:]))
    else:
        pixels = valid.flatten(1).sum(dim=1).to(logits.dtype)
    return Sums(
        intersection=over_pixels(torch.where(foreground, probability, zero)),
        probability=over_pixels(probability),
        foreground=over_pixels(foreground).to(logits.dtype),
        positive=over_pixels(torch.where(foreground, positive, zero)),
        negative=over_pixels(torch.where(background, negative, zero)),
        valid=pixels,
    )


def gradient_of_sums(
    sums_gradient: Tensor, logits: Tensor, masks: Tensor, valid: Tensor | None, softmax: bool
) -> Tensor:
    """What :func:`sums_of` sends back to its logits, given the sums' gradient ``[6, B, C]``.

    With a the gradient of a pixel's probability p, y its mask, and dE that of ``positive``:

        softmax   p * (a - sum of p * a + sum of y * dE) - y * dE       (sums over the classes)
        sigmoid   p * (1 - p) * a + (p - 1) * y * dE + p * (1 - y) * dN

    In float32, or float64 for float64 logits.
    """
    logits = _widened(logits)
    per_class = (*logits.shape[:2], *(1,) * (logits.dim() - 2))
    gradient = sums_gradient.to(logits.dtype).view(len(Sums._fields), *per_class)
    intersection, probability, _, positive, negative, _ = gradient.unbind()
    zero = logits.new_zeros(())
    of_probability = probability + torch.where(masks, intersection, zero)
    of_positive = torch.where(masks, positive, zero)
    if softmax:
        p = logits.softmax(dim=1)
        shared = of_positive.sum(dim=1, keepdim=True)
        shared = shared - (p * of_probability).sum(dim=1, keepdim=True)
        result = p * (of_probability + shared) - of_positive
    else:
        p = logits.sigmoid()
        of_negative = torch.where(masks, zero, negative)
        result = p * (1 - p) * of_probability + (p - 1) * of_positive + p * of_negative
    return result if valid is None else torch.where(valid, result, zero)


def _widened(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def loss_from_sums(
    sums: Sums, options: DiceCEOptions, class_weights: Tensor | None, weighted_mean: bool
) -> Tensor:
    """The loss, a scalar.

    ``weighted_mean``: softmax's cross entropy of label maps divides by the sum of the pixels'
    class weights, as :func:`torch.nn.functional.cross_entropy` does.
    """
    terms = []
    if options.ce_weight != 0:
        terms.append(
            options.ce_weight * _cross_entropy(sums, options, class_weights, weighted_mean)
        )
    if options.dice_weight != 0:
        terms.append(options.dice_weight * _dice_loss(sums, options))
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _cross_entropy(
    sums: Sums, options: DiceCEOptions, class_weights: Tensor | None, weighted_mean: bool
) -> Tensor:
    weights = 1.0 if class_weights is None else class_weights.to(sums.positive)
    total = (weights * sums.positive).sum() + sums.negative.sum()
    if weighted_mean:
        count = (weights * sums.foreground).sum()
    else:
        count = sums.valid.sum()
        if options.activation == "sigmoid":
            count = count * sums.positive.shape[1]
    # Without any valid pixel there is nothing to learn from: 0, with gradient 0.
    return total / torch.where(count > 0, count, torch.ones_like(count))


def _dice_loss(sums: Sums, options: DiceCEOptions) -> Tensor:
    first = 0 if options.include_background else 1
    parts = torch.stack((sums.intersection, sums.probability + sums.foreground))[:, :, first:]
    if options.batch_dice:
        parts = parts.sum(dim=1)  # [2, C]
        if options.sum_over_ranks:
            parts = _sum_over_ranks(parts)
    intersection, cardinality = parts.unbind()
    dice = (2 * intersection + options.smooth) / (cardinality + options.smooth).clamp_min(1e-8)
    return 1 - dice.mean()


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks, and of its gradient likewise.

    Every rank computes the same loss from it, and distributed training averages the gradients of
    the ranks: so the sum of the gradients gives what one process would compute.
    """

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return _all_reduce(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to remember: it is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return _sum_over_ranks(gradient)  # differentiable in its turn

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], values: Tensor) -> tuple[Tensor, int]:  # noqa: ARG004
        return _sum_over_ranks(values), in_dims[0]


def _sum_over_ranks(values: Tensor) -> Tensor:
    total: Tensor = SumOverRanks.apply(values)
    return total


def _all_reduce(values: Tensor) -> Tensor:
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total
