"""Derivatives of SCNP, in the form that autograd, ``torch.func`` and ``torch.compile`` all take.

    forward     penalized = logits at the winners        (Eq. 1)
    backward    scatter: gradients go to the winners     (Eq. 2)
    its own     gather: the transpose, then scatter again, and so on

Each is a ``torch.autograd.Function`` with its own ``vmap``, which folds the mapped axis into the
batch. None has a ``jvp``: with one, ``torch.compile(fullgraph=True)`` would not trace; without,
forward mode raises. Each takes a fixed number of arguments: nested in a backward, ``torch.compile``
tells the two styles of Function apart by counting them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from .. import ops
from ..rules.arguments import Arguments
from .batching import fold, unfold


class PenalizedLogits(Function):
    """Eq. 1; returns the penalized logits and, not differentiable, the winners."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, mask: Tensor | None, settings: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = ops.forward(logits, target, mask, *settings)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        winners = output[1]
        ctx.mark_non_differentiable(winners)
        # The winners' gradient does not exist: without this, zeros as large as they are would.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(winners)
        settings = inputs[3]
        ctx.kernel_size, ctx.backend = settings[0], settings[-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _winners: None) -> tuple[Any, ...]:
        if gradient is None:
            return None, None, None, None
        (winners,) = ctx.saved_tensors
        logits_gradient = LogitsGradient.apply(gradient, winners, ctx.kernel_size, ctx.backend)
        return logits_gradient, None, None, None

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
        penalized, winners = PenalizedLogits.apply(
            fold(logits, in_dims[0], size),
            fold(target, in_dims[1], size),
            fold(mask, in_dims[2], size),
            settings,
        )
        return (unfold(penalized, size), unfold(winners, size)), (0, 0)


class _LinearInValues(Function):
    """Scatter and gather: linear in their first argument, each the other's transpose."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        _, winners, ctx.kernel_size, ctx.backend = inputs
        ctx.save_for_backward(winners)


class LogitsGradient(_LinearInValues):
    """Eq. 2: the gradient of every penalized logit goes to its winner."""

    @staticmethod
    def forward(
        gradient: Tensor, winners: Tensor, kernel_size: tuple[int, ...], backend: str
    ) -> Tensor:
        result: Tensor = ops.scatter(gradient, winners, kernel_size, backend)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (winners,) = ctx.saved_tensors
        return (
            ValuesAtWinners.apply(gradient, winners, ctx.kernel_size, ctx.backend),
            None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], values: Tensor, winners: Tensor, *settings: Any
    ) -> tuple[Tensor, int]:
        return _vmap_linear(LogitsGradient, info, in_dims, values, winners, *settings)


class ValuesAtWinners(_LinearInValues):
    """The transpose of Eq. 2: every pixel takes the value at its winner."""

    @staticmethod
    def forward(
        values: Tensor, winners: Tensor, kernel_size: tuple[int, ...], backend: str
    ) -> Tensor:
        result: Tensor = ops.gather(values, winners, kernel_size, backend)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (winners,) = ctx.saved_tensors
        return (
            LogitsGradient.apply(gradient, winners, ctx.kernel_size, ctx.backend),
            None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], values: Tensor, winners: Tensor, *settings: Any
    ) -> tuple[Tensor, int]:
        return _vmap_linear(ValuesAtWinners, info, in_dims, values, winners, *settings)


def _vmap_linear(
    function: type[_LinearInValues],
    info: Any,
    in_dims: tuple[int | None, ...],
    values: Tensor,
    winners: Tensor,
    *settings: Any,
) -> tuple[Tensor, int]:
    size = info.batch_size
    result: Tensor = function.apply(
        fold(values, in_dims[0], size), fold(winners, in_dims[1], size), *settings
    )
    return unfold(result, size), 0


def penalize(arguments: Arguments, backend: str) -> Tensor:
    """The penalized logits of checked arguments; differentiable in the logits."""
    logits, target, mask, *settings = arguments
    penalized: Tensor = PenalizedLogits.apply(logits, target, mask, (*settings, backend))[0]
    return penalized
