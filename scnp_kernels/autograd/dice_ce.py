"""Derivatives of the sums that Dice + cross entropy are made of, for autograd and ``torch.func``.

    forward     sums over the pixels, of the penalized logits, the plain ones, or both
    backward    the fused gradient, from the winners and what the caller holds anyway
    its own     through the plain composition, which PyTorch differentiates any number of times

Built like :mod:`scnp_kernels.autograd`, for the same reasons.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import ops
from ..rules.arguments import Arguments
from ..rules.dice_ce import masks_and_valid, stack_sums, sums_dtype, sums_of
from .batching import fold, unfold
from .penalize import PenalizedLogits

_IMAGES = 2  # the axis of the images in sums [2, 6, B, C]


class DiceCESums(Function):
    """The sums ``[2, 6, B, C]`` and, not differentiable, the winners."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, mask: Tensor | None, settings: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = ops.dice_ce_forward(logits, target, mask, *settings)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        logits, target, mask, ctx.settings = inputs
        winners = output[1]
        ctx.mark_non_differentiable(winners)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(winners, logits, target, mask)

    @staticmethod
    def backward(ctx: Any, sums_gradient: Tensor | None, _winners: None) -> tuple[Any, ...]:
        if sums_gradient is None:
            return None, None, None, None
        gradient = SumsGradient.apply(sums_gradient, *ctx.saved_tensors, ctx.settings)
        return gradient, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        settings: tuple[Any, ...],
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        size = info.batch_size
        sums, winners = DiceCESums.apply(
            fold(logits, in_dims[0], size),
            fold(target, in_dims[1], size),
            fold(mask, in_dims[2], size),
            settings,
        )
        return (_unfold_sums(sums, size), unfold(winners, size)), (_IMAGES, 0)


class SumsGradient(Function):
    """The logits' gradient, given that of the sums."""

    @staticmethod
    def forward(
        sums_gradient: Tensor,
        winners: Tensor,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        settings: tuple[Any, ...],
    ) -> Tensor:
        result: Tensor = ops.dice_ce_backward(
            sums_gradient, winners, logits, target, mask, *settings
        )
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        sums_gradient, _, logits, target, mask, ctx.settings = inputs
        ctx.save_for_backward(sums_gradient, logits, target, mask)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        sums_gradient, logits, target, mask = ctx.saved_tensors

        def logits_gradient(sums_gradient: Tensor, logits: Tensor) -> Tensor:
            pull_back = torch.func.vjp(
                lambda z: _composed_sums(z, target, mask, ctx.settings), logits
            )[1]
            result: Tensor = pull_back(sums_gradient)[0]
            return result

        pull_back = torch.func.vjp(logits_gradient, sums_gradient, logits)[1]
        of_sums_gradient, of_logits = pull_back(gradient)
        return of_sums_gradient, None, of_logits, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        sums_gradient: Tensor,
        winners: Tensor,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        settings: tuple[Any, ...],
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        result: Tensor = SumsGradient.apply(
            _fold_sums(sums_gradient, in_dims[0], size),
            fold(winners, in_dims[1], size),
            fold(logits, in_dims[2], size),
            fold(target, in_dims[3], size),
            fold(mask, in_dims[4], size),
            settings,
        )
        return unfold(result, size), 0


def _fold_sums(sums: Tensor, mapped_axis: int | None, size: int) -> Tensor:
    """[2, 6, B, C] with a mapped axis somewhere, or nowhere -> [2, 6, size * B, C]."""
    if mapped_axis is None:
        sums = sums.unsqueeze(_IMAGES).expand(*sums.shape[:2], size, *sums.shape[2:])
    else:
        sums = sums.movedim(mapped_axis, _IMAGES)
    return torch.flatten(sums, _IMAGES, _IMAGES + 1)


def _unfold_sums(sums: Tensor, size: int) -> Tensor:
    """[2, 6, size * B, C] -> [2, 6, size, B, C]."""
    return torch.unflatten(sums, _IMAGES, (size, sums.shape[_IMAGES] // size))


def _composed_sums(
    logits: Tensor, target: Tensor, mask: Tensor | None, settings: tuple[Any, ...]
) -> Tensor:
    """The sums out of operations that each have all their derivatives."""
    *of_forward, softmax, of_penalized, of_plain, backend = settings
    _, target_is_masks, first_class, _, ignore_index, _ = of_forward
    masks, valid = masks_and_valid(logits, target, mask, target_is_masks, first_class, ignore_index)
    terms = []
    for wanted, penalizes in ((of_penalized, True), (of_plain, False)):
        if not wanted:
            terms.append(logits.new_zeros((6, *logits.shape[:2]), dtype=sums_dtype(logits)))
            continue
        values = logits
        if penalizes:
            values = PenalizedLogits.apply(logits, target, mask, (*of_forward, backend))[0]
        terms.append(stack_sums(sums_of(values, masks, valid, softmax)).to(sums_dtype(logits)))
    return torch.stack(terms)


def dice_ce_sums(
    arguments: Arguments, softmax: bool, of_penalized: bool, of_plain: bool, backend: str
) -> Tensor:
    """The sums of checked arguments, ``[2, 6, B, C]``: of the penalized logits, of the plain ones.

    Differentiable in the logits. What is not asked for is 0.
    """
    logits, target, mask, *settings = arguments
    sums: Tensor = DiceCESums.apply(
        logits, target, mask, (*settings, softmax, of_penalized, of_plain, backend)
    )[0]
    return sums
