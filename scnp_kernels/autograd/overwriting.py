"""The statistics' gradient written over the logits themselves (``inplace_backward``).

It is the last word on them: no second backward pass, no derivative of the gradient.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import ops
from ..rules.arguments import Arguments
from ..rules.dice_ce import Wanted
from ..rules.overwriting import check_hooks, check_not_compiled, check_overwritable
from .dice_ce import Settings, in_order
from .dispatch import is_transformed, needs_derivative, run


class OverwritingStatistics(Function):
    """The statistics ``[2, 6, B, C]``, whose gradient takes the place of the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        settings: Settings,
        of_caller: weakref.ref[Tensor],
    ) -> Tensor:
        check_not_compiled()  # torch.compile may begin here, where it ended a graph before
        statistics: Tensor
        statistics, winners = run(
            ops.dice_ce_forward, logits, target, mask, gate, *in_order(settings)
        )
        ctx.settings, ctx.of_caller, ctx.overwritten = settings, of_caller, False
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(winners, logits, target, mask)
        return statistics

    @staticmethod
    def backward(ctx: Any, statistics_gradient: Tensor | None) -> tuple[Any, ...]:
        if statistics_gradient is None:
            return (None,) * 6
        if ctx.overwritten:
            raise RuntimeError(
                "inplace_backward: got a second backward pass, but the first has overwritten the "
                "logits by their gradient; takes inplace_backward=False with retain_graph"
            )
        if torch.is_grad_enabled() or is_transformed() or _is_batch(statistics_gradient):
            raise RuntimeError(
                "inplace_backward: got a backward pass with create_graph, or several at once "
                "(is_grads_batched, vmap), which need the logits again; takes "
                "inplace_backward=False there"
            )
        try:
            winners, logits, target, mask = ctx.saved_tensors  # autograd compares their versions
        except RuntimeError as error:
            raise RuntimeError(
                "inplace_backward: got logits, a target or a mask that were changed since the loss "
                "was called, as a second loss with inplace_backward changes the logits; takes them "
                "unchanged, or inplace_backward=False"
            ) from error
        caller = ctx.of_caller()
        for tensor in (logits,) if caller is None else (logits, caller):
            check_hooks(tensor)
        ctx.overwritten = True
        # First of all: should anything fail on the way, nobody takes what is left for logits.
        torch.autograd.graph.increment_version(logits)
        gradient = logits.detach().as_subclass(Tensor)
        ops.dice_ce_backward_in_place(
            statistics_gradient, winners, gradient, target, mask, *ctx.settings
        )
        return gradient, None, None, None, None, None


def _is_batch(tensor: Tensor) -> bool:
    """Return whether a tensor stands for several, as in ``is_grads_batched``."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)


def check_overwriting(logits: Tensor, arguments: Arguments, backend: str) -> bool:
    """Return whether the gradient is to be written over the logits: False where none is wanted.

    Args:
        logits: Those of the caller.
        arguments: The checked ones, whose logits may be a view of them.
        backend: By name, or ``"auto"``.

    Raises:
        TypeError: They are no ordinary tensor.
        ValueError: Somebody else needs their values, or the backend cannot do it.
    """
    if torch.compiler.is_compiling():
        if not (torch.is_grad_enabled() and logits.requires_grad):
            return False
    elif not is_transformed() and not needs_derivative(logits):
        return False
    check_overwritable(logits)
    if arguments.logits.data_ptr() != logits.data_ptr():
        raise ValueError(
            f"inplace_backward: got logits with strides {logits.stride()} beside a mask of their "
            "shape, which copies them; takes contiguous logits there, or inplace_backward=False"
        )
    reason = ops.why_not_in_place(arguments.logits, backend)
    if reason is not None:
        raise ValueError(f"inplace_backward: got True {reason}; takes inplace_backward=False there")
    return True


def overwriting_statistics(
    logits: Tensor, arguments: Arguments, wanted: Wanted, backend: str
) -> Tensor:
    """Return what ``dice_ce_statistics`` does; the backward pass overwrites the logits.

    ``logits`` are those of the caller, ``arguments`` passed :func:`check_overwriting`.
    """
    images = arguments[:4]
    settings = Settings(arguments.kernel_size, arguments.reading, wanted, backend)
    statistics: Tensor = OverwritingStatistics.apply(*images, settings, weakref.ref(logits))
    return statistics
