"""How vmap's mapped axis is folded into the batch, and unfolded again.

The Functions fold by themselves, so that their derivatives stay theirs. Who meets a raw operator,
as in ``torch.compile(torch.vmap(...))``, finds the rules that are registered here. Without them
torch would warn, and call the operator image by image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import ops

STATISTICS_AXIS = 2  # of the images in statistics [2, 6, B, C]


def fold(
    value: Tensor | None, mapped_axis: int | None, size: int, batch_axis: int = 0
) -> Tensor | None:
    """[B, ...] with a mapped axis of ``size`` somewhere, or nowhere -> [size * B, ...].

    ``batch_axis``: where B stands, of one image and of the result.
    """
    if value is None:
        return None
    if mapped_axis is None:
        shape = value.shape
        value = value.unsqueeze(batch_axis)
        value = value.expand(*shape[:batch_axis], size, *shape[batch_axis:])
    else:
        value = value.movedim(mapped_axis, batch_axis)
    return value.flatten(batch_axis, batch_axis + 1)


def unfold(value: Tensor, size: int, batch_axis: int = 0) -> Tensor:
    """[size * B, ...] -> [size, B, ...]; both stand where ``batch_axis`` says."""
    sizes = (size, value.shape[batch_axis] // size)
    unfolded: Tensor = value.unflatten(batch_axis, sizes)
    return unfolded


def _register(operator: Any, results: tuple[int, ...], statistics: int | None = None) -> None:
    """Let vmap call a raw operator once, for the images of all.

    ``results``: where the images stand in each result; ``statistics``: the argument that is some.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        size = info.batch_size
        folded = [
            fold(argument, axis, size, STATISTICS_AXIS if index == statistics else 0)
            if isinstance(argument, Tensor)
            else argument
            for index, (argument, axis) in enumerate(zip(arguments, in_dims, strict=True))
        ]
        found = operator(*folded)
        if isinstance(found, Tensor):
            return unfold(found, size, results[0]), results[0]
        unfolded = (unfold(value, size, axis) for value, axis in zip(found, results, strict=True))
        return tuple(unfolded), results

    name = operator.name().removesuffix(".default")
    torch.library.register_vmap(name, rule, lib=ops.library)


_register(ops.forward, results=(0, 0))
_register(ops.scatter, results=(0,))
_register(ops.gather, results=(0,))
_register(ops.dice_ce_forward, results=(STATISTICS_AXIS, 0))
_register(ops.dice_ce_backward, results=(0,), statistics=0)
