"""Windows and their taps: the numbers that every backend and the saved winners agree on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch

# The largest numbers of taps whose numbers fit the winner's dtype.
MOST_TAPS_UINT8 = 255
MOST_TAPS_INT16 = 32_767
MOST_TAPS_INT32 = 2**31 - 1


def number_of_taps(kernel_size: Sequence[int]) -> int:
    """Return how many pixels a window holds, whether or not the border clips it."""
    return math.prod(kernel_size)


def winner_dtype(kernel_size: Sequence[int]) -> torch.dtype:
    """Return the narrowest dtype that holds every tap's number: 1 byte up to 255 taps, then 2.

    Windows of more than 32,767 taps take 4 bytes.
    """
    taps = number_of_taps(kernel_size)
    if taps <= MOST_TAPS_UINT8:
        return torch.uint8
    if taps <= MOST_TAPS_INT16:
        return torch.int16
    return torch.int32


def offsets_in_raster_order(kernel_size: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the displacement of every tap from the centre; its position is its number.

    >>> offsets_in_raster_order((1, 3))
    [(0, -1), (0, 0), (0, 1)]
    """
    return list(product(*(range(-(size // 2), size // 2 + 1) for size in kernel_size)))


def clip_window(kernel_size: tuple[int, ...], spatial: Sequence[int]) -> tuple[int, ...]:
    """Return the window, cut to what the image can hold if its taps would not fit the winners.

    Beyond ``2 * size - 1`` along an axis a window only ever holds what lies outside the image. The
    cut changes the taps' numbers but not the result. Smaller windows are left alone: looking at
    the sizes would make ``torch.compile`` specialise on them.
    """
    if number_of_taps(kernel_size) <= MOST_TAPS_INT16:
        return kernel_size
    clipped = tuple(
        min(window, max(1, 2 * size - 1)) for window, size in zip(kernel_size, spatial, strict=True)
    )
    if number_of_taps(clipped) > MOST_TAPS_INT32:
        raise ValueError(
            f"kernel_size: got {kernel_size} on an image of {tuple(spatial)}, a window of "
            f"{number_of_taps(clipped):,} pixels; takes windows of at most {MOST_TAPS_INT32:,}"
        )
    return clipped
