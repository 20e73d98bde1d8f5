"""A gradient written over the logits slab by slab, by kernels that write it elsewhere.

    planes of an image       0 ......... start ........ stop ......... end
    the kernels are given          |--halo--|   slab      |--halo--|
    overwritten by now       ========|                                        (gradient)

The gradient of a plane is made of the logits of planes within twice the window's reach, so the last
planes of a slab are held back until the next slab is computed. On a GPU programs run in any order,
and one that overwrites logits in place would take them from its neighbours. Where the kernels take
much memory beside the gradient, they are given a slab in several strips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..rules.dice_ce import Wanted
from ..rules.target import Reading

# What the slabs may take beside the logits, in logits per byte; and in any case what costs nothing.
_LOGITS_PER_BYTE = 11
_SMALL = 256 * 1024  # bytes


class Plan(NamedTuple):
    """How images are cut: planes along ``axis``, strips along ``across``."""

    images: int  # at a time
    axis: int
    halo: int  # planes
    length: int  # planes of a slab, without halo
    across: int
    halo_across: int
    width: int  # of a strip, without halo


def plan(
    shape: Sequence[int],
    itemsize: int,
    bytes_per_pixel: int,
    kernel_size: Sequence[int],
    wanted: Wanted,
) -> Plan:
    """Return the cut of logits of this shape by which the kernels compute the fewest pixels twice.

    It keeps to the bytes that may be taken, or as near to them as an image of few planes allows.
    """
    images, channels, *sizes = shape
    axis, across, *_ = (*sorted(range(len(sizes)), key=lambda number: -sizes[number]), 0)
    reaches = [
        min(w // 2, n - 1) if wanted.of_penalized else 0
        for w, n in zip(kernel_size, sizes, strict=True)
    ]
    size, halo = sizes[axis], 2 * reaches[axis]
    # An image of one axis has a single strip.
    others, halo_across = (sizes[across], 2 * reaches[across]) if across != axis else (1, 0)
    pixels = 1
    for number in sizes:
        pixels *= number
    most = max(images * channels * pixels // _LOGITS_PER_BYTE, _SMALL)
    gradient_of_plane = channels * itemsize * (pixels // size)
    best: tuple[float, Plan] | None = None
    narrowest = min(others, max(2 * halo_across, 8))
    for strips in range(1, others // narrowest + 1):
        width = -(-others // strips)
        reached = min(others, width + 2 * halo_across)
        work = bytes_per_pixel * (pixels // size) // others * reached
        collected = gradient_of_plane if strips > 1 else 0
        held_back = gradient_of_plane * halo
        at_once = max(1, most // (bytes_per_pixel * pixels)) if strips == 1 else 1
        length = (most - held_back - 2 * halo * work) // (work + collected)
        fits = length >= max(halo, 1)
        length = min(size, max(length, halo, 1))
        if length == size:
            fits = work * size <= most
        twice = (min(size, length + 2 * halo) / length) * (reached / width)
        needed = held_back + (length + 2 * halo) * work + length * collected
        # What fits comes first, by the pixels computed; then what is nearest to it.
        rank = twice if fits else 1e9 + needed
        if best is None or rank < best[0]:
            best = (rank, Plan(at_once, axis, halo, length, across, halo_across, width))
    assert best is not None
    return best[1]


def backward(
    kernels: Callable[..., Tensor],
    bytes_per_pixel: int,
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> None:
    """Overwrite logits ``[B, C, *spatial]`` by their gradient.

    ``kernels`` returns it: a backend's ``backward``, which allocates ``bytes_per_pixel``, the
    gradient included.
    """
    cut = plan(logits.shape, logits.dtype.itemsize, bytes_per_pixel, kernel_size, wanted)
    for first in range(0, logits.shape[0], cut.images):
        chosen = slice(first, first + cut.images)
        of_images = (
            statistics_gradient[:, :, chosen],
            winners[chosen],
            logits[chosen],
            target[chosen],
            None if mask is None else mask[chosen],
        )
        _of_images(cut, kernels, *of_images, kernel_size, reading, wanted)


def _of_images(
    cut: Plan,
    kernels: Callable[..., Tensor],
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    *how: Any,
) -> None:
    size = logits.shape[2 + cut.axis]
    held_back: Tensor | None = None
    for start in range(0, size, cut.length):
        stop = min(start + cut.length, size)
        planes = (cut.axis, start, stop, cut.halo)
        gradient = _of_slab(
            cut, planes, kernels, statistics_gradient, winners, logits, target, mask, *how
        )
        if held_back is not None:
            held = held_back.shape[2 + cut.axis]
            logits.narrow(2 + cut.axis, start - held, held).copy_(held_back)
            held_back = None  # before more is held back
        held = min(cut.halo, stop - start) if stop < size else 0
        done = stop - start - held
        logits.narrow(2 + cut.axis, start, done).copy_(gradient.narrow(2 + cut.axis, 0, done))
        if held > 0:
            held_back = gradient.narrow(2 + cut.axis, done, held).clone()
        del gradient


Range = tuple[int, int, int, int]  # axis, begin and end, and the halo around it


def _of_slab(cut: Plan, planes: Range, kernels: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Return the gradient of a slab, computed strip by strip; nothing is overwritten yet."""
    logits: Tensor = arguments[2]
    across = 2 + cut.across
    axis, start, stop, _ = planes
    if cut.across == axis or cut.width >= logits.shape[across]:
        return _of_part(kernels, [planes], *arguments)
    of_slab = logits.narrow(2 + axis, start, stop - start)
    gradient = torch.empty_like(of_slab)
    others = logits.shape[across]
    for left in range(0, others, cut.width):
        right = min(left + cut.width, others)
        strip = (cut.across, left, right, cut.halo_across)
        gradient.narrow(across, left, right - left).copy_(
            _of_part(kernels, [planes, strip], *arguments)
        )
    return gradient


def _of_part(
    kernels: Callable[..., Tensor],
    ranges: Sequence[Range],
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    *how: Any,
) -> Tensor:
    """Return the gradient of a part of the images, made of the part and the halo around it."""
    dimensions = logits.dim() - 2

    def part(tensor: Tensor) -> Tensor:
        # Target and mask may have no channels.
        for axis, start, stop, halo in ranges:
            size = logits.shape[2 + axis]
            begin, end = max(start - halo, 0), min(stop + halo, size)
            tensor = tensor.narrow(tensor.dim() - dimensions + axis, begin, end - begin)
        return tensor

    gradient = kernels(
        statistics_gradient,
        part(winners) if winners.dim() == logits.dim() else winners,  # [B, 0]: of nothing
        part(logits),
        part(target),
        None if mask is None else part(mask),
        *how,
    )
    for axis, start, stop, halo in ranges:
        gradient = gradient.narrow(2 + axis, min(start, halo), stop - start)
    return gradient
