"""Betti numbers of a mask: its components, loops and cavities."""

from __future__ import annotations

from itertools import product

import numpy as np
from skimage.measure import euler_number

from .components import STEPS, component_count, read_connectivity, without_small
from .inputs import Image, Mask, read_mask, read_pair

# Where the foreground touches by these neighbours, the background touches by those: as only one
# of two crossing diagonals can connect (Kong and Rosenfeld, 1989).
OF_BACKGROUND = {4: 8, 8: 4, 6: 26, 18: 6, 26: 6}


def betti_numbers(
    mask: Image,
    *,
    label: int | None = None,
    connectivity: int | None = None,
    field_of_view: Image | None = None,
    smallest_component: int = 0,
) -> tuple[int, ...]:
    """Return how many components and holes a mask has; in 3D: components, tunnels and cavities.

    These are the Betti numbers β0 and β1, in 3D β0, β1 and β2. The holes follow from the Euler
    number, components - tunnels + cavities; cavities are the background's components but the
    outer one.

    Args:
        mask: one image [*spatial] of 2 or 3 axes, an array or a tensor: a mask (bool, or numbers
            that are 0 and 1), or a label map with ``label``.
        label: the class of a label map to measure.
        connectivity: how many neighbours a foreground pixel touches: 4 or 8 in 2D, 6, 18 or 26 in
            3D; by default all of them, 8 and 26. The background touches by the others: by 4 under
            8, by 8 under 4, by 6 under 18 and 26, by 26 under 6.
        field_of_view: a mask of the pixels that count, of the same shape. What lies outside is
            background, whatever it holds.
        smallest_component: connected components of fewer pixels are left out first.

    Returns:
        (β0, β1) in 2D, (β0, β1, β2) in 3D. An empty mask has zeros.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.

    Beyond the border, of the image and of the field of view, is background: a ring that the border
    cuts has no hole. Other programs differ: ``skimage.measure.label`` connects all neighbours by
    default too, ``scipy.ndimage.label`` and SimpleITK's ``ConnectedComponent`` faces alone (4 and
    6). Papers often report the mean over random patches, where every cut structure counts once
    per patch.

    Source: Kong and Rosenfeld, Digital topology: introduction and survey, CVGIP 48 (1989).

    Example:
        >>> import numpy as np
        >>> ring = np.ones((3, 3), bool)
        >>> ring[1, 1] = False
        >>> betti_numbers(ring)
        (1, 1)
        >>> diagonal = np.eye(3, dtype=bool)
        >>> betti_numbers(diagonal), betti_numbers(diagonal, connectivity=4)
        ((1, 0), (3, 0))
        >>> shell = np.ones((3, 3, 3), bool)
        >>> shell[1, 1, 1] = False
        >>> betti_numbers(shell)
        (1, 0, 1)
    """
    foreground = read_mask("mask", mask, label, field_of_view)
    neighbours = read_connectivity(connectivity, foreground.ndim)
    return numbers_of(without_small(foreground, smallest_component, neighbours), neighbours)


def betti_errors(
    prediction: Image,
    truth: Image,
    *,
    label: int | None = None,
    connectivity: int | None = None,
    field_of_view: Image | None = None,
    smallest_component: int = 0,
) -> tuple[int, ...]:
    """Return by how much the Betti numbers of a prediction differ from the truth's.

    |β0(prediction) - β0(truth)|, then the same of β1, in 3D of β2. A false component and a missing
    one cancel; :func:`betti_matching_error` counts both.

    Args:
        prediction: an image [*spatial] of 2 or 3 axes, array or tensor: a mask (bool, or numbers
            that are 0 and 1), or a label map with ``label``.
        truth: an image of the same shape and kind.
        label: the class of the label maps to measure.
        connectivity: how many neighbours a foreground pixel touches, as for :func:`betti_numbers`.
        field_of_view: a mask of the pixels that count, of the same shape.
        smallest_component: connected components of fewer pixels are left out of both first.

    Returns:
        (β0 error, β1 error) in 2D, with the β2 error in 3D. Two empty masks agree: zeros.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.

    Source: Hu et al., Topology-preserving deep image segmentation, NeurIPS 2019, whose Betti error
    is a mean over random patches; here it is the whole image's.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[1, 1, 1, 1, 1, 1, 1]])
        >>> betti_errors(np.array([[1, 1, 0, 1, 0, 1, 1]]), truth)
        (2, 0)
        >>> betti_errors(np.array([[0, 2, 2, 0, 1, 0, 2]]), 2 * truth, label=2)
        (1, 0)
    """
    predicted, true = read_pair(prediction, truth, label, field_of_view)
    neighbours = read_connectivity(connectivity, true.ndim)
    of_prediction, of_truth = (
        numbers_of(without_small(mask, smallest_component, neighbours), neighbours)
        for mask in (predicted, true)
    )
    return tuple(abs(p - t) for p, t in zip(of_prediction, of_truth, strict=True))


def numbers_of(mask: Mask, connectivity: int) -> tuple[int, ...]:
    """The Betti numbers of a mask [*spatial] whose pixels touch by so many neighbours."""
    if not mask.any():
        return (0,) * mask.ndim
    count = component_count(mask, connectivity)
    if mask.ndim == 2:
        return count, count - _euler_number(mask, connectivity)
    # With a frame, for outside the image is background too.
    background = component_count(~np.pad(mask, 1), OF_BACKGROUND[connectivity])
    cavities = background - 1
    return count, count + cavities - _euler_number(mask, connectivity), cavities


def _euler_number(mask: Mask, connectivity: int) -> int:
    if connectivity != 18:
        return int(euler_number(mask, connectivity=STEPS[mask.ndim][connectivity]))
    # scikit-image has none for 18. Against 26, two voxels that alone among the eight around a
    # corner share it no longer touch there: one point becomes two.
    return int(euler_number(mask, connectivity=STEPS[3][26])) + _corner_contacts(mask)


def _corner_contacts(mask: Mask) -> int:
    """At how many corners two voxels meet, opposite each other, and no third one."""
    if min(mask.shape) < 2:
        return 0
    low, high = slice(None, -1), slice(1, None)
    around = {
        sides: mask[tuple(high if side else low for side in sides)]
        for sides in product((0, 1), repeat=3)
    }
    two = np.sum([voxels.astype(np.int8) for voxels in around.values()], axis=0) == 2
    opposite = ((sides, tuple(1 - side for side in sides)) for sides in around if sides[0] == 0)
    return sum(int((two & around[one] & around[other]).sum()) for one, other in opposite)
