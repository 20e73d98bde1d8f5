"""Betti numbers, Betti matching and clDice by brute force, for images of a few pixels.

Nothing here uses scnp_kernels or a library for topology: pixels are tuples, connected by
union-find; homology is Gaussian elimination over GF(2) on the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

Pixel = tuple[int, ...]
Cell = tuple[int, ...]  # twice the coordinates of its centre
Mask = npt.NDArray[np.bool_]


def pixels_of(mask: Mask) -> set[Pixel]:
    return {pixel for pixel in np.ndindex(mask.shape) if mask[pixel]}


@cache
def touching(pixel: Pixel, neighbours: int) -> list[Pixel]:
    """The neighbours of a pixel: those with so many coordinates changed by one."""
    changed = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}[neighbours]
    return [
        tuple(p + s for p, s in zip(pixel, step, strict=True))
        for step in product((-1, 0, 1), repeat=len(pixel))
        if 0 < sum(map(abs, step)) <= changed
    ]


def components(pixels: set[Pixel], neighbours: int) -> list[set[Pixel]]:
    """By union-find."""
    parent = {pixel: pixel for pixel in pixels}

    def root(pixel: Pixel) -> Pixel:
        while parent[pixel] != pixel:
            parent[pixel] = parent[parent[pixel]]
            pixel = parent[pixel]
        return pixel

    for pixel in pixels:
        for other in touching(pixel, neighbours):
            if other in parent:
                parent[root(pixel)] = root(other)
    found: dict[Pixel, set[Pixel]] = {}
    for pixel in pixels:
        found.setdefault(root(pixel), set()).add(pixel)
    return list(found.values())


def betti_numbers(mask: Mask, neighbours: int) -> tuple[int, ...]:
    """Components and cavities by union-find; the rest by counting cells."""
    foreground = pixels_of(mask)
    framed = set(product(*(range(-1, side + 1) for side in mask.shape)))
    of_background = {4: 8, 8: 4, 6: 26, 18: 6, 26: 6}[neighbours]
    first = len(components(foreground, neighbours))
    enclosed = len(components(framed - foreground, of_background)) - 1
    if mask.ndim == 2:
        return first, enclosed
    euler = sum((-1) ** dimension_of(cell) for cell in cells_of(foreground, neighbours))
    if neighbours == 18:  # voxels that share a corner and no edge there have a corner each
        corners = {cell for cell in cells_of(foreground, 26) if dimension_of(cell) == 0}
        for corner in corners:
            around = product(*((c // 2 - 1, c // 2) for c in corner))
            euler += len(components(foreground & set(around), 18)) - 1
    return first, first + enclosed - euler, enclosed


def cells_of(pixels: Iterable[Pixel], neighbours: int) -> set[Cell]:
    """The cubical complex of pixels: closed cells (all neighbours touch), or corners of cells.

    In both, a cell's dimension is the number of its odd coordinates.
    """
    if neighbours in (8, 18, 26):
        return set().union(*(closed(tuple(2 * p + 1 for p in pixel)) for pixel in pixels))
    corners = {tuple(2 * p for p in pixel) for pixel in pixels}
    candidates = set().union(*(upwards(corner) for corner in corners))
    return {cell for cell in candidates if corners_of(cell) <= corners}


@cache
def closed(cell: Cell) -> set[Cell]:
    """A cell of odd coordinates with all its faces."""
    return set(product(*((c - 1, c, c + 1) for c in cell)))


@cache
def upwards(corner: Cell) -> set[Cell]:
    """The cells of which a corner is the first."""
    return set(product(*((c, c + 1) for c in corner)))


def dimension_of(cell: Cell) -> int:
    return sum(c % 2 for c in cell)


@cache
def corners_of(cell: Cell) -> set[Cell]:
    return set(product(*((c - 1, c + 1) if c % 2 else (c,) for c in cell)))


def faces_of(cell: Cell) -> list[Cell]:
    return [
        (*cell[:axis], c + side, *cell[axis + 1 :])
        for axis, c in enumerate(cell)
        if c % 2
        for side in (-1, 1)
    ]


class Span:
    """Vectors over GF(2), as the bits of integers, in echelon form."""

    def __init__(self, vectors: Iterable[int] = ()) -> None:
        self.by_leading_bit: dict[int, int] = {}
        for vector in vectors:
            self.add(vector)

    def add(self, vector: int) -> bool:
        """Whether the vector was new."""
        while vector:
            leading = vector.bit_length()
            if leading not in self.by_leading_bit:
                self.by_leading_bit[leading] = vector
                return True
            vector ^= self.by_leading_bit[leading]
        return False


def kernel(columns: list[int]) -> list[int]:
    """The combinations of columns that vanish, as the bits of which columns."""
    reduced: dict[int, tuple[int, int]] = {}
    vanishing = []
    for index, column in enumerate(columns):
        combination = 1 << index
        while column:
            leading = column.bit_length()
            if leading not in reduced:
                reduced[leading] = column, combination
                break
            column ^= reduced[leading][0]
            combination ^= reduced[leading][1]
        else:
            vanishing.append(combination)
    return vanishing


def unmatched_features(prediction: Mask, truth: Mask, neighbours: int) -> tuple[int, ...]:
    """The Betti matching error by dimension, from its definition.

    For a mask and every step of filling the union's background in raster order, the rank of the
    map of homology from the mask to the filled union. Where it falls, features of the mask end;
    features of both masks that end at the same step match. What is left at the end (a component)
    matches too.
    """
    union = prediction | truth
    rest = [pixel for pixel in np.ndindex(union.shape) if not union[pixel]]
    fillings = [pixels_of(union) | set(rest[:count]) for count in range(len(rest) + 1)]
    complexes = [cells_of(filling, neighbours) for filling in fillings]
    number = {cell: index for index, cell in enumerate(sorted(complexes[-1]))}

    def boundary(cell: Cell) -> int:
        return sum(1 << number[face] for face in faces_of(cell))

    result = []
    for dimension in range(union.ndim):
        ends = []
        count = 0
        for mask in (prediction, truth):
            own = cells_of(pixels_of(mask), neighbours)
            of_dimension = [cell for cell in own if dimension_of(cell) == dimension]
            numbers = [number[cell] for cell in of_dimension]
            cycles = [
                sum(1 << numbers[i] for i in range(len(numbers)) if combination >> i & 1)
                for combination in kernel([boundary(cell) for cell in of_dimension])
            ]

            def rank(
                complex_: set[Cell], cycles: list[int] = cycles, dimension: int = dimension
            ) -> int:
                filled = Span(boundary(c) for c in complex_ if dimension_of(c) == dimension + 1)
                return sum(filled.add(cycle) for cycle in cycles)

            count += rank(own)
            ranks = [rank(complex_) for complex_ in complexes]
            falls = [before - after for before, after in pairwise(ranks)]
            ends.append([*falls, ranks[-1]])
        result.append(count - 2 * sum(map(min, *ends)))
    return tuple(result)


def cldice(
    prediction: Mask, truth: Mask, skeletonize: Callable[[Mask], npt.NDArray[np.generic]]
) -> float:
    """Centreline Dice of images too small for any part to be far from its skeleton."""
    if not prediction.any() and not truth.any():
        return 1.0
    shares = []
    for one, other in ((prediction, truth), (truth, prediction)):
        line = skeleton(one, skeletonize)
        shares.append(len(line & pixels_of(other)) / len(line) if line else 0.0)
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


def skeleton(mask: Mask, skeletonize: Callable[[Mask], npt.NDArray[np.generic]]) -> set[Pixel]:
    """Of every piece alone; where nothing is left, at twice the resolution; else the piece."""
    line: set[Pixel] = set()
    for piece in components(pixels_of(mask), 8 if mask.ndim == 2 else 26):
        alone, fine = np.zeros(mask.shape, bool), np.zeros([2 * s for s in mask.shape], bool)
        for pixel in piece:
            alone[pixel] = True
        for cell in cells_of(piece, 4):  # where all pixels around are of the piece
            fine[cell] = True
        at_twice = {tuple(c // 2 for c in cell) for cell in pixels_of(skeletonize(fine) != 0)}
        line |= pixels_of(skeletonize(alone) != 0) or at_twice or piece
    return line
