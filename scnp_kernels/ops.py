"""The raw operators, declared once: they exist without a compiler and under every tracer.

``forward``, ``scatter`` and ``gather`` carry the name of the backend; on real tensors their body
asks :mod:`scnp_kernels.backends.registry` which one runs, and runs it. Choosing inside the
operator, not in traced Python, keeps ``torch.compile(fullgraph=True)`` whole.

``dice_ce_forward`` gives the sums that a Dice + cross entropy loss is made of, on the penalized
logits, the plain ones, or both: ``[2, 6, B, C]`` (penalized, plain; then as in
:class:`scnp_kernels.rules.dice_ce.Sums`; zeros for what was not asked for), and the winners
(``[B, 0]`` where nothing is penalized). ``dice_ce_backward`` takes the gradient of those sums to
the logits.

All of them are private; :func:`scnp_kernels.scnp` is the entrance. Shapes: logits, gradients and
winners ``[B, C, *spatial]``; target ``[B, *spatial]`` or, as masks, the shape of logits; mask
``[B, *spatial]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .backends import composed_dice_ce, registry
from .rules.dice_ce import new_winners, sums_dtype
from .rules.window import winner_dtype

NAMESPACE = "scnp_kernels"
_FORWARD = (
    "(Tensor logits, Tensor target, Tensor? mask, int[] kernel_size, bool target_is_masks, "
    "SymInt first_class, SymInt label_count, int? ignore_index, bool validate"
)
_SCATTER = "(Tensor gradient, Tensor winners, int[] kernel_size"
_GATHER = "(Tensor values, Tensor winners, int[] kernel_size"
_SUMS_OF = ", bool softmax, bool of_penalized, bool of_plain"
_DICE_CE_FORWARD = _FORWARD + _SUMS_OF
_DICE_CE_BACKWARD = (
    _FORWARD.replace("(", "(Tensor sums_gradient, Tensor winners, ", 1) + _SUMS_OF
)  # of the same arguments; what only the forward pass looks at is ignored

library = torch.library.Library(NAMESPACE, "DEF")
library.define(f"forward{_FORWARD}, str backend) -> (Tensor, Tensor)")
library.define(f"scatter{_SCATTER}, str backend) -> Tensor")
library.define(f"gather{_GATHER}, str backend) -> Tensor")
library.define(f"dice_ce_forward{_DICE_CE_FORWARD}, str backend) -> (Tensor, Tensor)")
library.define(f"dice_ce_backward{_DICE_CE_BACKWARD}, str backend) -> Tensor")


def _forward(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    *rest, backend = arguments
    return registry.choose(backend, logits.device).forward(logits, *rest)


def _scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int], backend: str) -> Tensor:
    return registry.choose(backend, gradient.device).scatter(gradient, winners, kernel_size)


def _gather(values: Tensor, winners: Tensor, kernel_size: Sequence[int], backend: str) -> Tensor:
    return registry.choose(backend, values.device).gather(values, winners, kernel_size)


def _dice_ce_forward(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    *rest, backend = arguments
    chosen = registry.choose(backend, logits.device)
    if chosen.fuses_dice_ce_of(logits):
        return chosen.dice_ce_forward(logits, *rest)
    return composed_dice_ce.forward(chosen, logits, *rest)


def _dice_ce_backward(
    sums_gradient: Tensor, winners: Tensor, logits: Tensor, *arguments: Any
) -> Tensor:
    *rest, backend = arguments
    chosen = registry.choose(backend, logits.device)
    if chosen.fuses_dice_ce_of(logits):
        return chosen.dice_ce_backward(sums_gradient, winners, logits, *rest)
    return composed_dice_ce.backward(chosen, sums_gradient, winners, logits, *rest)


library.impl("forward", _forward, "CompositeExplicitAutograd")
library.impl("scatter", _scatter, "CompositeExplicitAutograd")
library.impl("gather", _gather, "CompositeExplicitAutograd")
library.impl("dice_ce_forward", _dice_ce_forward, "CompositeExplicitAutograd")
library.impl("dice_ce_backward", _dice_ce_backward, "CompositeExplicitAutograd")


def _fake_forward(
    logits: Tensor, _target: Tensor, _mask: Tensor | None, kernel_size: Sequence[int], *_: Any
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(logits), torch.empty_like(logits, dtype=winner_dtype(kernel_size))


def _fake_like_winners(values: Tensor, winners: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(winners, dtype=values.dtype)


def _fake_dice_ce_forward(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    kernel_size, of_penalized = arguments[2], arguments[9]
    batch, channels = logits.shape[:2]
    sums = logits.new_empty((2, 6, batch, channels), dtype=sums_dtype(logits))
    return sums, new_winners(logits, kernel_size, of_penalized)


def _fake_dice_ce_backward(
    _sums_gradient: Tensor, _winners: Tensor, logits: Tensor, *_: Any
) -> Tensor:
    return torch.empty_like(logits)


torch.library.register_fake(f"{NAMESPACE}::forward", _fake_forward, lib=library)
torch.library.register_fake(f"{NAMESPACE}::scatter", _fake_like_winners, lib=library)
torch.library.register_fake(f"{NAMESPACE}::gather", _fake_like_winners, lib=library)
torch.library.register_fake(f"{NAMESPACE}::dice_ce_forward", _fake_dice_ce_forward, lib=library)
torch.library.register_fake(f"{NAMESPACE}::dice_ce_backward", _fake_dice_ce_backward, lib=library)

forward = torch.ops.scnp_kernels.forward.default
scatter = torch.ops.scnp_kernels.scatter.default
gather = torch.ops.scnp_kernels.gather.default
dice_ce_forward = torch.ops.scnp_kernels.dice_ce_forward.default
dice_ce_backward = torch.ops.scnp_kernels.dice_ce_backward.default


# Derivatives of the raw operators themselves. scnp() differentiates through autograd.py, which
# torch.func can transform; these keep the operators whole for whoever meets them in a graph.


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    winners = output[1]
    ctx.mark_non_differentiable(winners)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(winners)
    ctx.inputs = len(inputs)
    ctx.kernel_size, ctx.backend = inputs[3], inputs[-1]


def _forward_backward(ctx: Any, gradient: Tensor | None, _winners: None) -> tuple[Any, ...]:
    rest = (None,) * (ctx.inputs - 1)
    if gradient is None:
        return None, *rest
    return scatter(gradient, *ctx.saved_tensors, ctx.kernel_size, ctx.backend), *rest


def _setup_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    _, winners, ctx.kernel_size, ctx.backend = inputs
    ctx.save_for_backward(winners)


def _scatter_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    return gather(gradient, *ctx.saved_tensors, ctx.kernel_size, ctx.backend), None, None, None


def _gather_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    return scatter(gradient, *ctx.saved_tensors, ctx.kernel_size, ctx.backend), None, None, None


def _setup_dice_ce(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, target, mask, *ctx.rest = inputs
    winners = output[1]
    ctx.mark_non_differentiable(winners)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(winners, logits, target, mask)


def _dice_ce_forward_backward(
    ctx: Any, sums_gradient: Tensor | None, _winners: None
) -> tuple[Any, ...]:
    others = (None,) * (2 + len(ctx.rest))
    if sums_gradient is None:
        return None, *others
    return dice_ce_backward(sums_gradient, *ctx.saved_tensors, *ctx.rest), *others


def _register_autograd(name: str, backward: Any, setup_context: Any) -> None:
    torch.library.register_autograd(
        f"{NAMESPACE}::{name}", backward, setup_context=setup_context, lib=library
    )


_register_autograd("forward", _forward_backward, _setup_forward)
_register_autograd("scatter", _scatter_backward, _setup_linear)
_register_autograd("gather", _gather_backward, _setup_linear)
_register_autograd("dice_ce_forward", _dice_ce_forward_backward, _setup_dice_ce)
