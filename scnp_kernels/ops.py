"""The raw operators, declared once: they exist without a compiler and under every tracer.

Each carries the name of the backend; on real tensors its body asks
:mod:`scnp_kernels.backends.registry` which one runs, and runs it. Choosing inside the operator, not
in traced Python, keeps ``torch.compile(fullgraph=True)`` whole. Schemas hold arguments one by one,
so that they can stand in a graph or a file; behind the schema they travel by name again, as
:class:`~scnp_kernels.rules.target.Reading` and :class:`~scnp_kernels.rules.dice_ce.Wanted`.

    forward            penalized logits and winners                                       (Eq. 1)
    scatter            gradients go to the winners                                        (Eq. 2)
    gather             every pixel takes the value at its winner: the transpose of scatter
    dice_ce_forward    statistics [2, 6, B, C] of the penalized and of the plain logits, zeros for
                       what is not wanted; and winners, [B, 0] where nothing is penalized
    dice_ce_backward   the gradient of those statistics becomes that of the logits

All of them are private; :func:`scnp_kernels.scnp` is the entrance. Logits, gradients and winners
are ``[B, C, *spatial]``; the target ``[B, *spatial]`` or, as masks, the shape of logits; mask and
gate ``[B, *spatial]``. :mod:`scnp_kernels.autograd` gives them their derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .backends import composed_dice_ce, registry
from .rules.dice_ce import STATISTICS, Wanted, new_winners, statistics_dtype
from .rules.target import Reading
from .rules.window import winner_dtype

NAMESPACE = "scnp_kernels"
_READING = (
    "bool target_is_masks, SymInt first_class, SymInt label_count, int? ignore_index, bool validate"
)
_IMAGE = f"Tensor logits, Tensor target, Tensor? mask, Tensor? gate, int[] kernel_size, {_READING}"
_WANTED = "bool softmax, bool of_penalized, bool of_plain, float gamma"

library = torch.library.Library(NAMESPACE, "DEF")


def _define(name: str, arguments: str, returns: str) -> Any:
    """Declare an operator and return its overload."""
    library.define(f"{name}({arguments}, str backend) -> {returns}")
    return getattr(torch.ops.scnp_kernels, name).default


forward = _define("forward", _IMAGE, "(Tensor, Tensor)")
scatter = _define("scatter", "Tensor gradient, Tensor winners, int[] kernel_size", "Tensor")
gather = _define("gather", "Tensor values, Tensor winners, int[] kernel_size", "Tensor")
dice_ce_forward = _define("dice_ce_forward", f"{_IMAGE}, {_WANTED}", "(Tensor, Tensor)")
dice_ce_backward = _define(
    "dice_ce_backward",
    f"Tensor statistics_gradient, Tensor winners, {_IMAGE}, {_WANTED}",
    "Tensor",
)


def _forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    reading = Reading(target_is_masks, first_class, label_count, ignore_index, validate)
    chosen = registry.choose(backend, logits.device)
    return chosen.forward(logits, target, mask, gate, kernel_size, reading)


def _scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int], backend: str) -> Tensor:
    return registry.choose(backend, gradient.device).scatter(gradient, winners, kernel_size)


def _gather(values: Tensor, winners: Tensor, kernel_size: Sequence[int], backend: str) -> Tensor:
    return registry.choose(backend, values.device).gather(values, winners, kernel_size)


def _dice_ce_forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
    gamma: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    reading = Reading(target_is_masks, first_class, label_count, ignore_index, validate)
    wanted = Wanted(softmax, of_penalized, of_plain, gamma)
    chosen = registry.choose(backend, logits.device)
    fused = chosen.fused_dice_ce(logits)
    if fused is not None:
        return fused.forward(logits, target, mask, gate, kernel_size, reading, wanted)
    return composed_dice_ce.forward(
        chosen, logits, target, mask, gate, kernel_size, reading, wanted
    )


def _dice_ce_backward(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
    gamma: float,
    backend: str,
) -> Tensor:
    reading = Reading(target_is_masks, first_class, label_count, ignore_index, validate)
    wanted = Wanted(softmax, of_penalized, of_plain, gamma)
    chosen = registry.choose(backend, logits.device)
    # The winners say it all: a pixel that kept its own logit is its own winner.
    del gate
    image = (statistics_gradient, winners, logits, target, mask, kernel_size, reading, wanted)
    fused = chosen.fused_dice_ce(logits)
    if fused is not None:
        return fused.backward(*image)
    return composed_dice_ce.backward(chosen, *image)


def dice_ce_backward_in_place(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
    backend: str,
) -> None:
    """Overwrite the logits by what ``dice_ce_backward`` returns, bit for bit.

    This is no operator: what it is called for is refused wherever somebody traces. Its logits
    passed :mod:`scnp_kernels.rules.overwriting`.
    """
    if logits.numel() == 0:
        return
    fused = registry.choose(backend, logits.device).fused_dice_ce(logits)
    assert fused is not None  # why_not_in_place() was asked
    target = target.resolve_neg()
    images = (statistics_gradient, winners, logits, target, mask)
    fused.backward_in_place(*images, kernel_size, reading, wanted)


def why_not_in_place(logits: Tensor, backend: str) -> str | None:
    """Return None if the chosen backend writes the gradient over such logits, or why not."""
    chosen = registry.choose(backend, logits.device)
    if logits.numel() == 0 or chosen.fused_dice_ce(logits) is not None:
        return None
    if chosen.dice_ce is None:
        return f'on the backend "{chosen.name}", whose loss is composed of several passes'
    return (
        f'on the backend "{chosen.name}" with C = {logits.shape[1]} classes, which fuses at most '
        f"{chosen.dice_ce.most_classes():g}"
    )


def _fake_forward(
    logits: Tensor,
    _target: Tensor,
    _mask: Tensor | None,
    _gate: Tensor | None,
    kernel_size: Sequence[int],
    *_: Any,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(logits), torch.empty_like(logits, dtype=winner_dtype(kernel_size))


def _fake_like_winners(values: Tensor, winners: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(winners, dtype=values.dtype)


def _fake_dice_ce_forward(
    logits: Tensor,
    _target: Tensor,
    _mask: Tensor | None,
    _gate: Tensor | None,
    kernel_size: Sequence[int],
    *settings: Any,
) -> tuple[Tensor, Tensor]:
    *_, softmax, of_penalized, of_plain, gamma, _backend = settings
    wanted = Wanted(softmax, of_penalized, of_plain, gamma)
    shape = (2, STATISTICS, *logits.shape[:2])
    statistics = logits.new_empty(shape, dtype=statistics_dtype(logits))
    return statistics, new_winners(logits, kernel_size, wanted.of_penalized)


def _fake_dice_ce_backward(
    _statistics_gradient: Tensor, _winners: Tensor, logits: Tensor, *_: Any
) -> Tensor:
    return torch.empty_like(logits)


# What an operator does with real tensors, once torch's dispatcher has found nothing else to do.
BODIES: dict[Any, Any] = {}


def _implement(operator: Any, on_real_tensors: Any, on_fake_tensors: Any) -> None:
    BODIES[operator] = on_real_tensors
    name = operator.name().removesuffix(".default")
    library.impl(name.removeprefix(f"{NAMESPACE}::"), on_real_tensors, "CompositeExplicitAutograd")
    torch.library.register_fake(name, on_fake_tensors, lib=library)


_implement(forward, _forward, _fake_forward)
_implement(scatter, _scatter, _fake_like_winners)
_implement(gather, _gather, _fake_like_winners)
_implement(dice_ce_forward, _dice_ce_forward, _fake_dice_ce_forward)
_implement(dice_ce_backward, _dice_ce_backward, _fake_dice_ce_backward)
