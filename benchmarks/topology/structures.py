"""How thick the structures of a mask are, how wide its holes, and if it shows tubes or blobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from scipy.ndimage import distance_transform_cdt, distance_transform_edt, label, maximum_filter
from scipy.ndimage import maximum as maximum_of
from skimage.morphology import skeletonize

from benchmarks.topology.datasets import Labels
from benchmarks.topology.measures import Mask, component_count

TUBES = 4.0  # times as long as thick
WATCHED = 10  # images that tell whether structures are tubes


def structure_thickness(mask: Mask, spacing: Sequence[float] | None = None) -> float:
    """The median, over a mask's skeleton, of twice the distance to the nearest pixel outside.

    In pixels, for a mask [*spatial]; nan for an empty one. A bar n pixels wide measures n where n
    is even, and n + 1 where it is odd. Structures are taken to go on beyond the image's border.
    With the ``spacing`` of voxels, one length per axis, in units of the smallest.

    Example:
        >>> bar = np.zeros((20, 40), np.bool_)
        >>> bar[8:13] = True
        >>> structure_thickness(bar)
        6.0
        >>> structure_thickness(np.repeat(bar[None], 3, axis=0), (10.0, 1.0, 1.0))
        6.0
    """
    lengths = np.ones(mask.ndim) if spacing is None else np.asarray(spacing) / min(spacing)
    if mask.all():  # nothing to be at a distance from
        return float(np.min(mask.shape * lengths))
    if not mask.any():
        return float("nan")
    distance = distance_transform_edt(mask, sampling=lengths)
    skeleton = skeletonize(mask) != 0
    if not skeleton.any():  # what scikit-image makes of sheets in 3D: their middle does instead
        skeleton = mask & (distance == maximum_filter(distance, 3))
    return float(np.median(2 * distance[skeleton]))


def count_holes(mask: Mask, side: int) -> tuple[int, int]:
    """How many holes a mask of an image has, and in how many no square of ``side`` pixels fits.

    A hole is background (4 neighbours) that foreground (8 neighbours) encloses, as Betti-1 counts
    it: beyond the border there is background. ``side`` is odd.

    Example:
        >>> mask = np.ones((9, 12), np.bool_)
        >>> mask[1:8, 1:3] = mask[3:6, 6:9] = False
        >>> count_holes(mask, 1), count_holes(mask, 3), count_holes(mask, 5)
        ((2, 0), (2, 1), (2, 2))
    """
    outside = np.pad(~mask, 1, constant_values=True)
    regions, count = label(outside)
    holes = [region for region in range(1, count + 1) if region != regions[0, 0]]
    if not holes:
        return 0, 0
    # In a square of n pixels around it, where n is odd, a pixel's distance is (n + 1) / 2.
    reach = maximum_of(distance_transform_cdt(outside, "chessboard"), regions, holes)
    return len(holes), int(np.count_nonzero(2 * np.asarray(reach) - 1 < side))


def elongation(mask: Mask) -> float:
    """How often the pieces of a mask are as long as they are thick: about 1 for discs.

    The pixels of the skeleton, per piece and by the median thickness; nan for an empty mask.

    Example:
        >>> bar = np.zeros((20, 90), np.bool_)
        >>> bar[8:12, 5:85] = True
        >>> elongation(bar) > 15, elongation(bar[:, 5:12]) < 3
        (True, True)
    """
    if not mask.any():
        return float("nan")
    pieces = component_count(mask, 3**mask.ndim - 1)
    length = np.count_nonzero(skeletonize(mask)) / pieces
    return float(length / structure_thickness(mask))


def are_tubes(truths: Iterable[Labels]) -> bool:
    """Whether structures are tubes rather than blobs, by the foreground of the first images.

    Example:
        >>> label_map = np.zeros((20, 90), np.uint8)
        >>> label_map[8:12, 5:85] = 1
        >>> are_tubes([label_map]), are_tubes([label_map[:, 5:12]])
        (True, False)
    """
    watched = [elongation(truth != 0) for truth in islice(truths, WATCHED)]
    return float(np.nanmedian(watched)) >= TUBES
