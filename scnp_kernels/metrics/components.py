"""Connected components of masks, and which pixels touch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.measure import label

from .inputs import Mask, read_whole_number

# scikit-image counts in steps along axes: 1 touches faces, 2 edges too, 3 corners too.
STEPS = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}


def read_connectivity(connectivity: int | None, dimensions: int) -> int:
    """How many neighbours a pixel touches: as given, or all of them (8 in 2D, 26 in 3D)."""
    allowed = STEPS[dimensions]
    if connectivity is None:
        return max(allowed)
    if read_whole_number("connectivity", connectivity) not in allowed:
        takes = ", ".join(map(str, allowed))
        raise ValueError(f"connectivity: got {connectivity} in {dimensions}D, takes {takes}")
    return int(connectivity)


def components(mask: Mask, connectivity: int) -> npt.NDArray[np.integer]:
    """The connected components [*spatial] of a mask, numbered from 1; 0 is background."""
    if mask.size == 0:  # which scikit-image refuses
        return np.zeros(mask.shape, np.int64)
    numbered: npt.NDArray[np.integer] = label(mask, connectivity=STEPS[mask.ndim][connectivity])
    return numbered


def component_count(mask: Mask, connectivity: int) -> int:
    """How many connected components a mask has."""
    return int(components(mask, connectivity).max(initial=0))


def without_small(mask: Mask, smallest_component: int, connectivity: int) -> Mask:
    """The mask without its connected components of fewer pixels."""
    least = read_whole_number("smallest_component", smallest_component, least=0)
    if least <= 1 or not mask.any():
        return mask
    numbered = components(mask, connectivity)
    large = np.bincount(numbered.ravel()) >= least
    large[0] = False  # the background
    kept: Mask = large[numbered]
    return kept
