"""How round the components of a mask are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours, marching_cubes, mesh_surface_area, regionprops

from .components import components, read_connectivity, without_small
from .inputs import Image, Mask, Spacing, read_pair, read_spacing


def roundness_error(
    prediction: Image,
    truth: Image,
    *,
    label: int | None = None,
    connectivity: int | None = None,
    field_of_view: Image | None = None,
    smallest_component: int = 0,
    spacing: Spacing | None = None,
) -> float:
    """Return how much rounder or less round a prediction's components are than the truth's.

    The difference of the mean roundness of the components, from 0 to 1. Roundness is
    ``4 π area / perimeter²`` in 2D, and in 3D the sphericity ``π^(1/3) (6 volume)^(2/3) /
    surface``, of the outline half-way between a component's pixels and their neighbours.

    Args:
        prediction: an image [*spatial] of 2 or 3 axes, array or tensor: a mask (bool, or numbers
            that are 0 and 1), or a label map with ``label``.
        truth: an image of the same shape and kind.
        label: the class of the label maps to measure.
        connectivity: how many neighbours a pixel touches: 4 or 8 in 2D, 6, 18 or 26 in 3D. By
            default faces alone, 4 and 6, so that cells that meet at a corner are two.
        field_of_view: a mask of the pixels that count, of the same shape.
        smallest_component: connected components of fewer pixels are left out of both first.
        spacing: the side of a pixel, or one per axis, in any unit.

    Returns:
        0 for two empty masks. Where one is empty, its roundness counts as 0.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.

    The steps of the outline make it longer than a smooth one, so that a disc or ball of pixels has
    about 0.9. ``skimage.measure.perimeter`` estimates the smooth outline, and discs of a few pixels
    come out far above 1 with it. Where the border cuts a component, it closes the outline.

    Source: Cox, A method of assigning numerical and percentage values to the degree of roundness
    of sand grains, Journal of Paleontology 1 (1927); Wadell, Volume, shape, and roundness of rock
    particles, Journal of Geology 40 (1932).

    Example:
        >>> import numpy as np
        >>> square, line = np.zeros((2, 12, 12), bool)
        >>> square[3:9, 3:9] = True
        >>> line[5, 1:11] = True
        >>> roundness_error(square, square), round(roundness_error(line, square), 2)
        (0.0, 0.58)
    """
    predicted, true = read_pair(prediction, truth, label, field_of_view)
    sides = read_spacing(spacing, true.ndim)
    faces = 2 * true.ndim
    neighbours = read_connectivity(faces if connectivity is None else connectivity, true.ndim)
    of_prediction, of_truth = (
        _mean_roundness(without_small(mask, smallest_component, neighbours), neighbours, sides)
        for mask in (predicted, true)
    )
    return abs(of_prediction - of_truth)


def roundness(piece: Mask, spacing: tuple[float, ...]) -> float:
    """How close a piece [*spatial] is to a disc or ball, 0 (a line without end) to 1."""
    padded = np.pad(piece, 1).astype(np.float32)
    if piece.ndim == 2:
        outlines = [  # each [points, 2], closed
            outline * np.array(spacing)
            for outline in find_contours(padded, 0.5, fully_connected="high")
        ]
        area = abs(sum(_signed_area(outline) for outline in outlines))  # holes count against it
        steps = np.concatenate([np.diff(outline, axis=0) for outline in outlines])
        perimeter = float(np.linalg.norm(steps, axis=1).sum())
        return 4 * math.pi * area / perimeter**2
    vertices, faces, _, _ = marching_cubes(padded, 0.5, spacing=spacing)
    corners = vertices[faces].astype(np.float64)  # [faces, 3 corners, 3 coordinates]
    sides = np.cross(corners[:, 0], corners[:, 1])
    volume = abs(float((sides * corners[:, 2]).sum())) / 6
    surface = float(mesh_surface_area(vertices, faces))
    sphericity: float = math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface
    return sphericity


def _signed_area(outline: npt.NDArray[np.float64]) -> float:
    """Of a closed outline [points, 2], by the shoelace formula; its sign tells the direction."""
    y, x = outline.T
    return float((y[:-1] * x[1:] - y[1:] * x[:-1]).sum()) / 2


def _mean_roundness(mask: Mask, connectivity: int, spacing: tuple[float, ...]) -> float:
    if not mask.any():
        return 0.0
    pieces = regionprops(components(mask, connectivity))
    return float(np.mean([roundness(piece.image, spacing) for piece in pieces]))
