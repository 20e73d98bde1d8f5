"""Derivatives of the statistics that Dice + cross entropy are made of.

    forward     statistics of the penalized logits, of the plain ones, or of both
    backward    the fused gradient, from the winners and what the caller holds anyway
    its own     through the plain composition, which PyTorch differentiates any number of times

The Functions are built like those of :mod:`.penalize`, for the same reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from .. import ops
from ..rules.arguments import Arguments
from ..rules.dice_ce import (
    STATISTICS,
    Wanted,
    masks_and_valid,
    stack_statistics,
    statistics_dtype,
    statistics_of,
)
from ..rules.target import Reading
from .batching import STATISTICS_AXIS, fold, unfold
from .dispatch import apply, differentiates, is_transformed, needs_derivative, run
from .penalize import PenalizedLogits


class Settings(NamedTuple):
    """What the operators are told beside tensors."""

    kernel_size: tuple[int, ...]
    reading: Reading
    wanted: Wanted
    backend: str


# No method of Settings: graphs of torch 2.6 cannot look into those of named tuples.
def in_order(settings: Settings) -> tuple[Any, ...]:
    """Return the settings one by one, in the order of the schemas."""
    return (settings.kernel_size, *settings.reading, *settings.wanted, settings.backend)


def _settings_of(kernel_size: Sequence[int], *flat: Any) -> Settings:
    """Return the settings that came one by one, behind a schema."""
    *flat_reading, softmax, of_penalized, of_plain, gamma, backend = flat
    reading, wanted = Reading(*flat_reading), Wanted(softmax, of_penalized, of_plain, gamma)
    return Settings(tuple(kernel_size), reading, wanted, backend)


def _apply_statistics(
    logits: Tensor, target: Tensor, mask: Tensor | None, gate: Tensor | None, *flat: Any
) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = apply(
        DiceCEStatistics, logits, target, mask, gate, _settings_of(*flat)
    )
    return result


@differentiates(ops.dice_ce_forward, 1, _apply_statistics)
class DiceCEStatistics(Function):
    """The statistics ``[2, 6, B, C]`` and, not differentiable, the winners."""

    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        settings: Settings,
    ) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = run(
            ops.dice_ce_forward, logits, target, mask, gate, *in_order(settings)
        )
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        logits, target, mask, gate, ctx.settings = inputs
        winners = output[1]
        ctx.mark_non_differentiable(winners)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(winners, logits, target, mask, gate)

    @staticmethod
    def backward(ctx: Any, statistics_gradient: Tensor | None, _winners: None) -> tuple[Any, ...]:
        if statistics_gradient is None:
            return None, None, None, None, None
        gradient = apply(StatisticsGradient, statistics_gradient, *ctx.saved_tensors, ctx.settings)
        return gradient, None, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        settings: Settings,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        size = info.batch_size
        statistics, winners = apply(
            DiceCEStatistics,
            fold(logits, in_dims[0], size),
            fold(target, in_dims[1], size),
            fold(mask, in_dims[2], size),
            fold(gate, in_dims[3], size),
            settings,
        )
        unfolded = unfold(statistics, size, STATISTICS_AXIS), unfold(winners, size)
        return unfolded, (STATISTICS_AXIS, 0)


def _apply_statistics_gradient(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    *flat: Any,
) -> Tensor:
    images = (winners, logits, target, mask, gate)
    result: Tensor = apply(StatisticsGradient, statistics_gradient, *images, _settings_of(*flat))
    return result


@differentiates(ops.dice_ce_backward, 3, _apply_statistics_gradient)
class StatisticsGradient(Function):
    """The gradient of the logits, given that of the statistics."""

    @staticmethod
    def forward(
        statistics_gradient: Tensor,
        winners: Tensor,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        settings: Settings,
    ) -> Tensor:
        result: Tensor = run(
            ops.dice_ce_backward,
            statistics_gradient,
            winners,
            logits,
            target,
            mask,
            gate,
            *in_order(settings),
        )
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        statistics_gradient, _, logits, target, mask, gate, ctx.settings = inputs
        ctx.save_for_backward(statistics_gradient, logits, target, mask, gate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        statistics_gradient, logits, target, mask, gate = ctx.saved_tensors

        def logits_gradient(statistics_gradient: Tensor, logits: Tensor) -> Tensor:
            pull_back = torch.func.vjp(
                lambda z: _composed_statistics(z, target, mask, gate, ctx.settings), logits
            )[1]
            result: Tensor = pull_back(statistics_gradient)[0]
            return result

        pull_back = torch.func.vjp(logits_gradient, statistics_gradient, logits)[1]
        of_sums_gradient, of_logits = pull_back(gradient)
        return of_sums_gradient, None, of_logits, None, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        statistics_gradient: Tensor,
        winners: Tensor,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        settings: Settings,
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        result: Tensor = apply(
            StatisticsGradient,
            fold(statistics_gradient, in_dims[0], size, STATISTICS_AXIS),
            fold(winners, in_dims[1], size),
            fold(logits, in_dims[2], size),
            fold(target, in_dims[3], size),
            fold(mask, in_dims[4], size),
            fold(gate, in_dims[5], size),
            settings,
        )
        return unfold(result, size), 0


def _composed_statistics(
    logits: Tensor, target: Tensor, mask: Tensor | None, gate: Tensor | None, settings: Settings
) -> Tensor:
    """Return the statistics, composed of operations that each have all their derivatives."""
    kernel_size, reading, wanted, backend = settings
    masks, valid = masks_and_valid(logits, target, mask, reading)
    dtype = statistics_dtype(logits)
    terms = []
    for is_wanted, penalizes in ((wanted.of_penalized, True), (wanted.of_plain, False)):
        if not is_wanted:
            terms.append(logits.new_zeros((STATISTICS, *logits.shape[:2]), dtype=dtype))
            continue
        values = logits
        if penalizes:
            images = (logits, target, mask, gate)
            values = apply(PenalizedLogits, *images, kernel_size, reading, backend)[0]
        statistics = statistics_of(values, masks, valid, wanted)
        terms.append(stack_statistics(statistics).to(dtype))
    return torch.stack(terms)


def dice_ce_statistics(arguments: Arguments, wanted: Wanted, backend: str) -> Tensor:
    """Return the statistics of checked arguments, ``[2, 6, B, C]``: penalized, then plain logits'.

    They are differentiable in the logits. What is not wanted is 0.
    """
    logits, target, mask, gate, kernel_size, reading = arguments
    settings = Settings(kernel_size, reading, wanted, backend)
    if not is_transformed() and not needs_derivative(logits):
        plain: Tensor = run(ops.dice_ce_forward, logits, target, mask, gate, *in_order(settings))[0]
        return plain
    statistics: Tensor = apply(DiceCEStatistics, logits, target, mask, gate, settings)[0]
    return statistics
