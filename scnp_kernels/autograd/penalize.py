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
from ..rules.target import Reading
from .batching import fold, unfold
from .dispatch import apply, differentiates, is_transformed, needs_derivative, run


def _apply_penalized_logits(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: tuple[int, ...],
    *settings: Any,
) -> tuple[Tensor, Tensor]:
    *reading, backend = settings
    result: tuple[Tensor, Tensor] = apply(
        PenalizedLogits, logits, target, mask, gate, tuple(kernel_size), Reading(*reading), backend
    )
    return result


@differentiates(ops.forward, 1, _apply_penalized_logits)
class PenalizedLogits(Function):
    """Eq. 1: the penalized logits and, not differentiable, the winners."""

    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        kernel_size: tuple[int, ...],
        reading: Reading,
        backend: str,
    ) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = run(
            ops.forward, logits, target, mask, gate, kernel_size, *reading, backend
        )
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *_, ctx.kernel_size, _, ctx.backend = inputs
        winners = output[1]
        ctx.mark_non_differentiable(winners)
        # The winners' gradient does not exist: without this, zeros as large as they are would.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(winners)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _winners: None) -> tuple[Any, ...]:
        if gradient is None:
            return None, None, None, None, None, None, None
        (winners,) = ctx.saved_tensors
        return (
            _to_winners(gradient, winners, ctx.kernel_size, ctx.backend),
            None,
            None,
            None,
            None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        kernel_size: tuple[int, ...],
        reading: Reading,
        backend: str,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        size = info.batch_size
        penalized, winners = apply(
            PenalizedLogits,
            fold(logits, in_dims[0], size),
            fold(target, in_dims[1], size),
            fold(mask, in_dims[2], size),
            fold(gate, in_dims[3], size),
            kernel_size,
            reading,
            backend,
        )
        return (unfold(penalized, size), unfold(winners, size)), (0, 0)


def _to_winners(
    gradient: Tensor, winners: Tensor, kernel_size: tuple[int, ...], backend: str
) -> Tensor:
    """Return :class:`LogitsGradient`'s value, by the operator alone where that is enough."""
    if not is_transformed() and not needs_derivative(gradient):
        result: Tensor = run(ops.scatter, gradient, winners, kernel_size, backend)
    else:
        result = apply(LogitsGradient, gradient, winners, kernel_size, backend)
    return result


class _LinearInValues(Function):
    """Scatter and gather: linear in their first argument, each the other's transpose."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        _, winners, ctx.kernel_size, ctx.backend = inputs
        ctx.save_for_backward(winners)

    @staticmethod
    def transpose(ctx: Any, function: type[Function], gradient: Tensor) -> tuple[Any, ...]:
        """Return the gradients of the four arguments: the other Function's value, and none."""
        (winners,) = ctx.saved_tensors
        return apply(function, gradient, winners, ctx.kernel_size, ctx.backend), None, None, None


def _vmap_linear(
    function: type[_LinearInValues],
    info: Any,
    in_dims: tuple[int | None, ...],
    values: Tensor,
    winners: Tensor,
    *settings: Any,
) -> tuple[Tensor, int]:
    size = info.batch_size
    result: Tensor = apply(
        function, fold(values, in_dims[0], size), fold(winners, in_dims[1], size), *settings
    )
    return unfold(result, size), 0


def _apply_logits_gradient(*arguments: Any) -> Tensor:
    gradient, winners, kernel_size, backend = arguments
    result: Tensor = apply(LogitsGradient, gradient, winners, tuple(kernel_size), backend)
    return result


@differentiates(ops.scatter, 1, _apply_logits_gradient)
class LogitsGradient(_LinearInValues):
    """Eq. 2: the gradient of every penalized logit goes to its winner."""

    @staticmethod
    def forward(
        gradient: Tensor, winners: Tensor, kernel_size: tuple[int, ...], backend: str
    ) -> Tensor:
        result: Tensor = run(ops.scatter, gradient, winners, kernel_size, backend)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _LinearInValues.transpose(ctx, ValuesAtWinners, gradient)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], values: Tensor, winners: Tensor, *settings: Any
    ) -> tuple[Tensor, int]:
        return _vmap_linear(LogitsGradient, info, in_dims, values, winners, *settings)


def _apply_values_at_winners(*arguments: Any) -> Tensor:
    values, winners, kernel_size, backend = arguments
    result: Tensor = apply(ValuesAtWinners, values, winners, tuple(kernel_size), backend)
    return result


@differentiates(ops.gather, 1, _apply_values_at_winners)
class ValuesAtWinners(_LinearInValues):
    """The transpose of Eq. 2: every pixel takes the value at its winner."""

    @staticmethod
    def forward(
        values: Tensor, winners: Tensor, kernel_size: tuple[int, ...], backend: str
    ) -> Tensor:
        result: Tensor = run(ops.gather, values, winners, kernel_size, backend)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _LinearInValues.transpose(ctx, LogitsGradient, gradient)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], values: Tensor, winners: Tensor, *settings: Any
    ) -> tuple[Tensor, int]:
        return _vmap_linear(ValuesAtWinners, info, in_dims, values, winners, *settings)


def penalize(arguments: Arguments, backend: str) -> Tensor:
    """Return the penalized logits of checked arguments; differentiable in the logits."""
    if not is_transformed() and not needs_derivative(arguments.logits):
        # A Function would cost more than a small image's kernel.
        *images, reading = arguments
        plain: Tensor = run(ops.forward, *images, *reading, backend)[0]
        return plain
    penalized: Tensor = apply(PenalizedLogits, *arguments, backend)[0]
    return penalized
