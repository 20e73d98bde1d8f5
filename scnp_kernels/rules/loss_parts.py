"""The parts of the fused losses, each from the statistics of an image (:mod:`.dice_ce`).

    ce        mean of the pixels' cross entropy
    focal     mean over pixels and classes of the modulated cross entropy
    dice      1 - mean of (2 TP + smooth) / (2 TP + FP + FN + smooth)
    tversky   1 - mean of (TP + smooth) / (TP + alpha FP + beta FN + smooth)

TP, FP and FN are sums over pixels: of ``p * y``, of ``p * (1 - y)`` and of ``(1 - p) * y``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .dice_ce import Statistics
from .loss_options import FocalOptions, LossOptions, TverskyOptions
from .weights import weighted_sum


class Circumstances(NamedTuple):
    """What the parts depend on beside the statistics and the options."""

    class_weights: Tensor | None  # [C]
    alpha: Tensor | None  # [C], of focal; None where the options hold it, or there is none
    # As torch's cross entropy of label maps, divide by the sum of the pixels' class weights.
    weighted_mean: bool
    over_ranks: bool  # sum the parts of Dice and Tversky over all ranks first


def parts_of(
    statistics: Statistics, options: LossOptions, circumstances: Circumstances
) -> dict[str, Tensor]:
    """Return the parts of a loss whose weight is not 0, scalars by name."""
    return {
        part: _PARTS[part](statistics, options, circumstances)
        for part, weight in options.part_weights.items()
        if weight != 0
    }


def sum_of_parts(parts: dict[str, Tensor], options: LossOptions) -> Tensor:
    """Return the loss that the parts make, a scalar."""
    weights = options.part_weights
    return weighted_sum([(weights[part], value) for part, value in parts.items()])


def _cross_entropy(
    statistics: Statistics, options: LossOptions, circumstances: Circumstances
) -> Tensor:
    foreground_ce = statistics.foreground_ce
    weights = _factor(circumstances.class_weights, foreground_ce)
    total = (weights * foreground_ce).sum() + statistics.background_ce.sum()
    if circumstances.weighted_mean:
        count = (weights * statistics.foreground).sum()
    else:
        # Softmax has one cross entropy per pixel, sigmoid one per pixel and class.
        classes = 1 if options.activation == "softmax" else foreground_ce.shape[1]
        count = statistics.valid[:, :classes].sum()
    return _mean(total, count)


def _focal(statistics: Statistics, options: LossOptions, circumstances: Circumstances) -> Tensor:
    assert isinstance(options, FocalOptions)
    first = _first_class(options)
    foreground, background = statistics.foreground_ce, statistics.background_ce
    if circumstances.alpha is not None:
        foreground = circumstances.alpha.to(foreground) * foreground
    elif options.alpha is not None and options.activation == "softmax":
        # The class 0 stands for the background that other classes are balanced against.
        foreground = torch.cat(
            ((1 - options.alpha) * foreground[:, :1], options.alpha * foreground[:, 1:]), dim=1
        )
    elif options.alpha is not None:
        foreground, background = options.alpha * foreground, (1 - options.alpha) * background
    weights = _factor(circumstances.class_weights, foreground)
    total = (weights * (foreground + background))[:, first:].sum()
    return _mean(total, statistics.valid[:, first:].sum())


def _dice(statistics: Statistics, options: LossOptions, circumstances: Circumstances) -> Tensor:
    cardinality = statistics.probability + statistics.foreground
    parts = torch.stack((statistics.intersection, cardinality))
    intersection, cardinality = _over_images(parts, options, circumstances)
    dice = (2 * intersection + options.smooth) / (cardinality + options.smooth).clamp_min(1e-8)
    return 1 - dice.mean()


def _tversky(statistics: Statistics, options: LossOptions, circumstances: Circumstances) -> Tensor:
    assert isinstance(options, TverskyOptions)
    parts = torch.stack((statistics.intersection, statistics.probability, statistics.foreground))
    true_positive, probability, foreground = _over_images(parts, options, circumstances)
    wrong = options.alpha * (probability - true_positive)
    wrong = wrong + options.beta * (foreground - true_positive)
    denominator = (true_positive + wrong + options.smooth).clamp_min(1e-8)
    return 1 - ((true_positive + options.smooth) / denominator).mean()


_PARTS: dict[str, Callable[[Statistics, Any, Circumstances], Tensor]] = {
    "ce": _cross_entropy,
    "focal": _focal,
    "dice": _dice,
    "tversky": _tversky,
}


def _first_class(options: LossOptions) -> int:
    return 0 if options.include_background else 1


def _factor(class_weights: Tensor | None, like: Tensor) -> Tensor | float:
    return 1.0 if class_weights is None else class_weights.to(like)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    # Without any valid pixel there is nothing to learn from: 0, with gradient 0.
    return total / torch.where(count > 0, count, torch.ones_like(count))


def _over_images(
    parts: Tensor, options: LossOptions, circumstances: Circumstances
) -> tuple[Tensor, ...]:
    """Return parts ``[n, B, C]`` one by one for the classes that count, summed up as asked."""
    parts = parts[:, :, _first_class(options) :]
    if options.batch_dice:
        parts = parts.sum(dim=1)  # [n, C]
        if circumstances.over_ranks:
            parts = _sum_over_ranks(parts)
    return parts.unbind()


class SumOverRanks(torch.autograd.Function):
    """Sums a tensor over all ranks, and its gradient likewise.

    Every rank computes the same loss from the sum, and distributed training averages the gradients
    of the ranks: so the sum of the gradients gives what one process would compute.
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
