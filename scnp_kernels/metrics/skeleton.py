"""The skeleton of a mask, of which no part of the mask is left out."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import binary_propagation, distance_transform_edt, find_objects, maximum_filter
from skimage.morphology import skeletonize

from .components import STEPS, components
from .inputs import Mask

# A part is left out where the skeleton is farther away than so many times the part's own radius.
# Ends and corners of what has been thinned well stay below.
FAR = 4


def skeleton(mask: Mask) -> Mask:
    """Return the centrelines of a mask [*spatial], one pixel wide and inside the mask.

    scikit-image's thinning (Zhang and Suen, 1984, in 2D; Lee et al., 1994, in 3D), and more where
    it leaves out a part. In 3D it leaves nothing of a bar, tube, box or sheet of even width
    (scikit-image#3757), and shortens a bar from the end where its width is even. In 2D a thick
    diagonal may shrink to one pixel. Such parts are thinned at twice the resolution, where every
    width is odd.

    Example:
        >>> import numpy as np
        >>> bar = np.zeros((8, 8, 12), bool)
        >>> bar[2:6, 2:6, 2:10] = True
        >>> int(skeleton(bar).sum())
        5
    """
    if not mask.any():
        return np.zeros(mask.shape, np.bool_)
    thinned: Mask = skeletonize(mask) != 0  # bool or 0 and 255, by the version
    pieces = components(mask, max(STEPS[mask.ndim]))
    for number, box in enumerate(find_objects(pieces), start=1):
        piece = pieces[box] == number
        thinned[box] |= _left_out(piece, thinned[box] & piece)
    return thinned


def _left_out(piece: Mask, thinned: Mask) -> Mask:
    """The centrelines of those parts of a connected piece that its skeleton does not reach."""
    if not thinned.any():
        return _at_twice_the_resolution(piece)
    nothing = np.zeros(piece.shape, np.bool_)
    if math.hypot(*piece.shape) <= 2 * FAR:  # nothing can be far away
        return nothing
    # To the nearest pixel outside, which may lie beyond the border.
    inner = (slice(1, -1),) * piece.ndim
    radius = distance_transform_edt(np.pad(piece, 1))[inner]
    away = distance_transform_edt(~thinned)
    far = away > FAR * (radius + 1)
    middle = piece & (radius == maximum_filter(radius, 3))
    if not (middle & far).any():
        return nothing
    fine = _at_twice_the_resolution(piece)
    # A branch is taken back to where it comes near the skeleton.
    connected = np.ones((3,) * piece.ndim, np.bool_)
    parts: Mask = binary_propagation(fine & far, connected, mask=fine & (away > radius + 1))
    return parts


def _at_twice_the_resolution(mask: Mask) -> Mask:
    """The pixels that hold the skeleton of the mask drawn twice as fine.

    Between two pixels lies one of the finer grid, foreground where both are. What is n pixels wide
    becomes 2 n - 1 wide.
    """
    fine = mask
    for axis in range(mask.ndim):
        along = np.moveaxis(fine, axis, 0)
        drawn = np.zeros((2 * len(along) - 1, *along.shape[1:]), np.bool_)
        drawn[::2] = along
        drawn[1::2] = along[1:] & along[:-1]
        fine = np.moveaxis(drawn, 0, axis)
    found = np.zeros(mask.shape, np.bool_)
    found[tuple(np.argwhere(skeletonize(np.ascontiguousarray(fine)) != 0).T // 2)] = True
    return found if found.any() else mask
