"""A gradient written over the logits slab by slab, by kernels that write it elsewhere.

    planes of an image       0 ......... start ........ stop ......... end
    the kernels are given          |--halo--|   slab      |--halo--|
    overwritten by now       ========|                                        (gradient)

The gradient of a plane is made of the logits of planes within twice the window's reach, so the last
planes of a slab are held back until the next slab is computed. On a GPU programs run in any order,
and one that overwrites logits in place would take them from its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..rules.dice_ce import Wanted
from ..rules.target import Reading

# What the slabs may take beside the logits, in logits per byte; and in any case what costs nothing.
_LOGITS_PER_BYTE = 11
_SMALL = 256 * 1024  # bytes


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
    sizes = logits.shape[2:]
    axis = max(range(len(sizes)), key=lambda number: sizes[number])
    size = sizes[axis]
    reach = min(kernel_size[axis] // 2, size - 1) if wanted.of_penalized else 0
    halo = 2 * reach
    most = max(logits.numel() // _LOGITS_PER_BYTE, _SMALL)
    bytes_of_plane = bytes_per_pixel * (logits[0, 0].numel() // size)
    length = most // bytes_of_plane - 3 * halo  # a halo on either side, and one held back
    images = max(1, most // (bytes_of_plane * size))
    length = min(size, max(length, halo, 1))
    for first in range(0, logits.shape[0], images):
        chosen = slice(first, first + images)
        of_images = logits[chosen]
        held_back: Tensor | None = None
        for start in range(0, size, length):
            stop = min(start + length, size)
            begin, end = max(start - halo, 0), min(stop + halo, size)

            def part(tensor: Tensor, begin: int = begin, end: int = end) -> Tensor:
                # Target and mask may have no channels; winners of nothing have no pixels.
                of_axis = tensor.dim() - len(sizes) + axis
                return tensor.narrow(of_axis, begin, end - begin)

            gradient = kernels(
                statistics_gradient[:, :, chosen],
                part(winners[chosen]) if wanted.of_penalized else winners[chosen],
                part(of_images),
                part(target[chosen]),
                None if mask is None else part(mask[chosen]),
                kernel_size,
                reading,
                wanted,
            )
            if held_back is not None:
                planes = held_back.shape[2 + axis]
                of_images.narrow(2 + axis, start - planes, planes).copy_(held_back)
                held_back = None  # before more is held back
            gradient = gradient.narrow(2 + axis, start - begin, stop - start)
            held = min(halo, stop - start) if stop < size else 0
            done = stop - start - held
            of_images.narrow(2 + axis, start, done).copy_(gradient.narrow(2 + axis, 0, done))
            held_back = gradient.narrow(2 + axis, done, held).clone() if held > 0 else None
            del gradient
