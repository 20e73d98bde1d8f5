"""Tensors as kernels see them: three axes, outer, middle, inner, by strides counted in elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

_MOST_32_BITS = 2**31 - 1


class Axes(NamedTuple):
    """One number for each of the three axes."""

    outer: int
    middle: int
    inner: int


class Strides(NamedTuple):
    """The strides of an image, in elements; an axis with stride 0 repeats."""

    batch: int
    channel: int
    outer: int
    middle: int
    inner: int


def three_axes(spatial: Sequence[int], lacking: int) -> Axes:
    """Extend 1 to 3 spatial numbers to three; ``lacking`` stands for an axis that is not there.

    >>> three_axes((7,), 1), three_axes((5, 7), 1)
    (Axes(outer=1, middle=1, inner=7), Axes(outer=5, middle=1, inner=7))
    """
    if len(spatial) == 1:
        return Axes(lacking, lacking, spatial[0])
    if len(spatial) == 2:
        return Axes(spatial[0], lacking, spatial[1])
    return Axes(*spatial)


def strides_of_image(tensor: Tensor) -> Strides:
    """Return the strides of a tensor ``[B, C, *spatial]``."""
    batch, channel, *spatial = tensor.stride()
    return Strides(batch, channel, *three_axes(spatial, 0))


def strides_of_map(tensor: Tensor) -> Strides:
    """Return the strides of a tensor ``[B, *spatial]``, which all channels share."""
    batch, *spatial = tensor.stride()
    return Strides(batch, 0, *three_axes(spatial, 0))


def plane_needs_64_bits(tensors: Iterable[Strides], sizes: Axes, window: Axes) -> bool:
    """Return whether an offset within a plane, window included, exceeds 32 bits in any tensor."""
    rows, columns = sizes.middle + window.middle, sizes.inner + window.inner
    return any(s.middle * rows + s.inner * columns > _MOST_32_BITS for s in tensors)


def tensor_needs_64_bits(
    tensors: Iterable[Strides], batch: int, channels: int, sizes: Axes, window: Axes
) -> bool:
    """Return whether an offset within a tensor, or its number of elements, exceeds 32 bits."""
    reached = [size + side for size, side in zip(sizes, window, strict=True)]
    counts = (batch, channels, *reached)
    return batch * channels * sizes.outer * sizes.middle * sizes.inner > _MOST_32_BITS // 2 or any(
        sum(stride * count for stride, count in zip(s, counts, strict=True)) > _MOST_32_BITS
        for s in tensors
    )
