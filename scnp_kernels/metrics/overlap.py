"""Dice, of pixels and of centrelines."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt

from .components import read_connectivity, without_small
from .inputs import Image, Mask, Spacing, read_pair, read_spacing
from .skeleton import skeleton


def dice(
    prediction: Image,
    truth: Image,
    *,
    label: int | None = None,
    field_of_view: Image | None = None,
    smallest_component: int = 0,
    connectivity: int | None = None,
) -> float:
    """Return the overlap of prediction and truth, 2 |P ∩ T| / (|P| + |T|), from 0 to 1.

    Args:
        prediction: an image [*spatial] of 2 or 3 axes, array or tensor: a mask (bool, or numbers
            that are 0 and 1), or a label map with ``label``.
        truth: an image of the same shape and kind.
        label: the class of the label maps to measure.
        field_of_view: a mask of the pixels that count, of the same shape.
        smallest_component: connected components of fewer pixels are left out of both first.
        connectivity: by how many neighbours those components touch: 4 or 8 in 2D, 6, 18 or 26 in
            3D; by default all, 8 and 26.

    Returns:
        1 for two empty masks, 0 where one of them is empty.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.

    The size of pixels cancels. Others differ where the truth is empty: MONAI's ``DiceMetric``
    gives NaN then and leaves it out of its mean, so that a false alarm costs nothing, unless
    ``ignore_empty=False``.

    Source: Dice, Measures of the amount of ecologic association between species, Ecology 26 (1945).

    Example:
        >>> import torch
        >>> dice(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[0, 1, 1, 0]]))
        0.5
        >>> ignored = torch.tensor([[0, 1, 1, 255]])
        >>> dice(torch.tensor([[0, 1, 1, 1]]), ignored, field_of_view=ignored != 255)
        1.0
    """
    predicted, true = read_pair(prediction, truth, label, field_of_view)
    neighbours = read_connectivity(connectivity, true.ndim)
    predicted = without_small(predicted, smallest_component, neighbours)
    true = without_small(true, smallest_component, neighbours)
    total = int(predicted.sum()) + int(true.sum())
    return 2.0 * int((predicted & true).sum()) / total if total else 1.0


def cldice(
    prediction: Image,
    truth: Image,
    *,
    label: int | None = None,
    field_of_view: Image | None = None,
    smallest_component: int = 0,
    connectivity: int | None = None,
    spacing: Spacing | None = None,
) -> float:
    """Return the centreline Dice of prediction and truth, from 0 to 1.

    The harmonic mean of two shares: that of the predicted skeleton which lies inside the truth
    (precision), and that of the true skeleton which lies inside the prediction (sensitivity).

    Args:
        prediction: an image [*spatial] of 2 or 3 axes, array or tensor: a mask (bool, or numbers
            that are 0 and 1), or a label map with ``label``.
        truth: an image of the same shape and kind.
        label: the class of the label maps to measure.
        field_of_view: a mask of the pixels that count, of the same shape.
        smallest_component: connected components of fewer pixels are left out of both first.
        connectivity: by how many neighbours those components touch, as for :func:`dice`; thinning
            connects all neighbours.
        spacing: the side of a pixel, or one per axis, in any unit. Where they differ, a pixel of a
            skeleton counts by the length of its steps to its neighbours there, in that unit, over
            their length in pixels, so that a vessel counts the same along every axis. Equal sides
            change nothing: every pixel counts once, as published.

    Returns:
        1 for two empty masks and for equal ones, 0 where one is empty or nothing of the skeletons
        is inside.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.

    Every part of a mask has a skeleton here. scikit-image's 3D thinning, which other programs
    take as it is, leaves nothing of bars, tubes and sheets of even width (scikit-image#3757): a
    perfect prediction of those has 0 there, or the part does not count at all. See
    ``scnp_kernels.metrics.skeleton``. Beyond the border, of the image and of the field of view,
    is background. In 3D the skeleton of a sheet is a curve: for membranes clDice says little.

    Source: Shit et al., clDice, a novel topology-preserving loss function for tubular structure
    segmentation, CVPR 2021, Eq. 1 and 2.

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((9, 20), bool)
        >>> truth[4] = True
        >>> half = truth.copy()
        >>> half[:, 10:] = False
        >>> round(cldice(half, truth), 4)  # precision 1, sensitivity 1/2
        0.6667
    """
    predicted, true = read_pair(prediction, truth, label, field_of_view)
    sides = read_spacing(spacing, true.ndim)
    neighbours = read_connectivity(connectivity, true.ndim)
    predicted = without_small(predicted, smallest_component, neighbours)
    true = without_small(true, smallest_component, neighbours)
    if not predicted.any() and not true.any():
        return 1.0
    precision = _share_inside(skeleton(predicted), true, sides)
    sensitivity = _share_inside(skeleton(true), predicted, sides)
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def _share_inside(centrelines: Mask, mask: Mask, spacing: tuple[float, ...]) -> float:
    """The share of a skeleton that lies inside a mask; 0 for an empty skeleton."""
    if not centrelines.any():
        return 0.0
    inside = mask[centrelines]
    if len(set(spacing)) == 1:
        return int(inside.sum()) / inside.size
    lengths = _length_per_pixel(centrelines, spacing)[centrelines]
    return float(lengths[inside].sum() / lengths.sum()) if not inside.all() else 1.0


def _length_per_pixel(centrelines: Mask, spacing: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """How much longer a skeleton's steps are in space than in pixels, at each of its pixels.

    The mean over the steps to its neighbours on the skeleton; the geometric mean of the spacing
    where it has none.
    """
    total = np.zeros(centrelines.shape)
    steps = np.zeros(centrelines.shape, np.int64)
    for step in product((-1, 0, 1), repeat=centrelines.ndim):
        if step <= (0,) * centrelines.ndim:  # the other half are these backwards
            continue
        length = math.hypot(*(s * side for s, side in zip(step, spacing, strict=True)))
        length /= math.hypot(*step)
        start = tuple(slice(max(0, -s), min(0, -s) or None) for s in step)
        end = tuple(slice(max(0, s), min(0, s) or None) for s in step)
        both = centrelines[start] & centrelines[end]
        for part in (start, end):
            total[part] += length * both
            steps[part] += both
    alone = math.prod(spacing) ** (1 / len(spacing))
    return np.where(steps > 0, total / np.maximum(steps, 1), alone)
