"""How vmap's mapped axis is folded into the batch, and unfolded again."""

from __future__ import annotations

from torch import Tensor


def fold(value: Tensor | None, mapped_axis: int | None, size: int) -> Tensor | None:
    """[B, ...] with a mapped axis of ``size`` somewhere, or nowhere -> [size * B, ...]."""
    if value is None:
        return None
    if mapped_axis is None:
        value = value.unsqueeze(0).expand(size, *value.shape)
    else:
        value = value.movedim(mapped_axis, 0)
    return value.reshape(size * value.shape[1], *value.shape[2:])


def unfold(value: Tensor, size: int) -> Tensor:
    """[size * B, ...] -> [size, B, ...]."""
    return value.reshape(size, value.shape[0] // size, *value.shape[1:])
