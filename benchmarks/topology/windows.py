"""Which window suits structures of a thickness, and voxels of a spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.common.tables import by
from scnp_kernels.integrations.nnunet.windows import window_for_spacing

SMALLEST_WINDOW = 3
LARGEST_WINDOW = 7
EXCESS = 0.5  # by which a structure measures more than it is wide, on average
NEAR = 1.75  # pixels between a width and a window that suits it
# Below it SCNP made nothing significantly better on images like those trained on, vessel trees and
# membranes worse, and alone it learnt nothing in some trainings: seen at thicknesses of 2.1 to 3.5.
THIN = 4.0


def suggested_windows(thickness: float) -> tuple[int, ...]:
    """The windows to try for structures of this thickness in pixels, the first one first.

    The odd numbers next to it, between 3 and 7: 3, then 5 for 4.5 pixels; 3 alone for 3.4, and for
    what no window is near, since then the thickness says nothing. The paper (Section 4.2, Table 1)
    relates the best window to how thick the structures are.

    Example:
        >>> [suggested_windows(pixels) for pixels in (1.0, 3.4, 4.5, 6.2, 8.0, 40.0)]
        [(3,), (3,), (3, 5), (5, 7), (7,), (3,)]
    """
    odd = range(SMALLEST_WINDOW, LARGEST_WINDOW + 1, 2)
    near = tuple(window for window in odd if abs(window - (thickness - EXCESS)) < NEAR)
    return near or (SMALLEST_WINDOW,)


def is_thin(thickness: float) -> bool:
    """Whether it speaks for a window; not so where it is nan."""
    return thickness - EXCESS < LARGEST_WINDOW + NEAR


def suggested_window(thickness: float) -> int:
    """The first of the windows to try; 3 for a thickness of nan."""
    return SMALLEST_WINDOW if np.isnan(thickness) else suggested_windows(thickness)[0]


def window_per_axis(side: int, spacing: Sequence[float]) -> tuple[int, ...]:
    """A window that reaches about as far along every axis as ``side`` does along the finest.

    1 along axes that are more than three times coarser, as in the trainers for nnU-Net; elsewhere
    the nearest odd number, and at least 3 (unless ``side`` is smaller).

    Example:
        >>> window_per_axis(5, (1.0, 1.0, 1.0)), window_per_axis(7, (2.0, 1.0, 1.0))
        ((5, 5, 5), (3, 7, 7))
        >>> window_per_axis(5, (10.0, 1.0, 1.0))
        (1, 5, 5)
    """
    finest = min(spacing)
    least = window_for_spacing(min(side, SMALLEST_WINDOW), spacing)
    return tuple(
        smallest if smallest == 1 else max(smallest, _nearest_odd(side * finest / length))
        for smallest, length in zip(least, spacing, strict=True)
    )


def _nearest_odd(number: float) -> int:
    """The odd number next to it; of two the smaller."""
    return max(1, 2 * int(np.ceil(number / 2)) - 1)


def as_text(window: Sequence[int]) -> str:
    """3, or 1x3x3 where the sides differ."""
    return str(window[0]) if len(set(window)) == 1 else by(window)


def unit_of(spacing: Sequence[float] | None) -> str:
    """What a thickness counts: pixels, or voxels with their ``spacing``."""
    if spacing is None:
        return "pixels"
    return "voxels" if len(set(spacing)) == 1 else "voxels of the finest axis"
