"""What one segmentation is measured by, for one foreground class, as masks in 2D or 3D.

Dice and clDice are the demo's. Connectivity is the number of neighbours that a pixel touches: 4 or
8 in 2D; 6, 18 or 26 in 3D.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours, label, marching_cubes, mesh_surface_area, regionprops

from benchmarks.demo.measures import cldice, dice

__all__ = ["betti0_error", "cldice", "component_count", "dice", "roundness", "roundness_error"]

Mask = npt.NDArray[np.bool_]

# scikit-image counts in steps along axes: 1 touches faces, 2 edges too, 3 corners too.
STEPS = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}


def component_count(mask: Mask, connectivity: int) -> int:
    """Betti number 0: the pieces of the foreground [*spatial].

    Raises ValueError where the connectivity is none of the mask's dimension.

    Example:
        >>> diagonal = np.eye(3, dtype=np.bool_)
        >>> component_count(diagonal, connectivity=8), component_count(diagonal, connectivity=4)
        (1, 3)
    """
    return int(_components(mask, connectivity).max(initial=0))


def betti0_error(prediction: Mask, truth: Mask, connectivity: int) -> int:
    """How many pieces the prediction has too many or too few."""
    return abs(component_count(prediction, connectivity) - component_count(truth, connectivity))


def roundness_error(prediction: Mask, truth: Mask, connectivity: int | None = None) -> float:
    """How much rounder or less round the prediction's pieces are than the truth's, 0 to 1.

    The difference of the mean roundness of the pieces. Where there are none it counts as 0. By
    default pieces touch by faces, so that cells that meet at a corner are two.
    """
    faces = 2 * truth.ndim if connectivity is None else connectivity
    return abs(_mean_roundness(prediction, faces) - _mean_roundness(truth, faces))


def roundness(piece: Mask) -> float:
    """How close a piece is to a disc or ball, 0 (a line without end) to 1.

    ``4 pi area / perimeter^2`` in 2D, and in 3D the sphericity ``pi^(1/3) (6 volume)^(2/3) /
    surface``, of the outline half-way between the piece's pixels and their neighbours. Its steps
    make it longer than a smooth one: a disc or ball of pixels has about 0.9.
    """
    padded = np.pad(piece, 1).astype(np.float32)
    if piece.ndim == 2:
        outlines = find_contours(padded, 0.5, fully_connected="high")  # each [points, 2], closed
        area = abs(sum(_signed_area(outline) for outline in outlines))  # holes count against it
        steps = np.concatenate([np.diff(outline, axis=0) for outline in outlines])
        perimeter = float(np.linalg.norm(steps, axis=1).sum())
        return 4 * math.pi * area / perimeter**2
    vertices, faces, _, _ = marching_cubes(padded, 0.5)
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


def _mean_roundness(mask: Mask, connectivity: int) -> float:
    pieces = regionprops(_components(mask, connectivity))
    return float(np.mean([roundness(piece.image) for piece in pieces])) if pieces else 0.0


def _components(mask: Mask, connectivity: int) -> npt.NDArray[np.integer]:
    """The pieces [*spatial], numbered from 1."""
    steps = STEPS.get(mask.ndim, {})
    if connectivity not in steps:
        takes = ", ".join(map(str, steps)) or "nothing but 2D and 3D masks"
        raise ValueError(f"connectivity: got {connectivity} in {mask.ndim}D, takes {takes}")
    numbered: npt.NDArray[np.integer] = label(mask, connectivity=steps[connectivity])
    return numbered
