"""What is done to a prediction after the training: a cut, a closing, small pieces left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, minimum_filter

from benchmarks.topology.datasets import Labels, Planes
from scnp_kernels.metrics.components import components, without_small

BACKGROUND = 0
BYTE_VALUES = 256  # that a stored probability can have
HALF = 0.5
Probabilities = npt.NDArray[np.uint8]  # of the foreground, [*spatial], see `stored`

Level = TypeVar("Level", float, tuple[float, float])  # of what the search tries

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, HALF, 0.6, 0.7, 0.8, 0.9)
HYSTERESES = ((0.1, HALF), (0.3, 0.7), (HALF, 0.9))  # low and high
CUTS = (*((cut, cut) for cut in THRESHOLDS), *HYSTERESES)
RADII = (0, 1, 2, 3, 5)
SMALLEST = (0, 8, 32, 128, 512)


@dataclass(frozen=True)
class Postprocessing:
    """One way to treat predictions; the default leaves them as they are.

    Args:
        low: Foreground is what has a probability above it ...
        high: ... in a connected piece of which some pixel has one above this.
        radius: Of the closing, a box of 2 * radius + 1 pixels a side; 0 for none.
        smallest: Connected pieces of fewer pixels become background; 0 for none.
    """

    low: float = HALF
    high: float = HALF
    radius: int = 0
    smallest: int = 0

    @property
    def cuts(self) -> bool:
        """Whether it needs probabilities."""
        return (self.low, self.high) != (HALF, HALF)

    @property
    def complexity(self) -> tuple[float, ...]:
        """Orders from simple to elaborate: fewer operations, then smaller ones."""
        operations = self.cuts + (self.radius > 0) + (self.smallest > 0)
        cut = abs(self.low - HALF) + abs(self.high - HALF)
        return operations, self.low != self.high, self.radius, self.smallest, cut, self.low

    @property
    def title(self) -> str:
        """As files name it: the words of ``described`` of images."""
        return self.described(2)

    def described(self, spatial_dimensions: int, *, ends: bool = False) -> str:
        """As tables say it of images (2) or volumes (3).

        ``ends``: say of each step whether it is the last that the search tries in its direction,
        so that one further on may do better.

        Example:
            >>> Postprocessing(0.3, 0.7, radius=1).described(2)
            'hysteresis 0.3 to 0.7, closing radius 1'
            >>> Postprocessing(0.4, 0.4, smallest=8).described(3), Postprocessing().described(3)
            ('threshold 0.4, no piece below 8 voxels', 'none')
            >>> Postprocessing(0.1, 0.1, smallest=8).described(2, ends=True)
            'threshold 0.1 (the lowest tried), no piece below 8 pixels'
        """
        unit = "voxels" if spatial_dimensions == 3 else "pixels"
        parts = []
        if self.cuts and self.low == self.high:
            text = f"threshold {self.low:g}"
            parts.append(text + _end(self.low, THRESHOLDS, ends))
        elif self.cuts:
            text = f"hysteresis {self.low:g} to {self.high:g}"
            parts.append(text + _end((self.low, self.high), HYSTERESES, ends))
        if self.radius:
            parts.append(f"closing radius {self.radius}" + _end(self.radius, RADII, ends))
        if self.smallest:
            text = f"no piece below {self.smallest} {unit}"
            parts.append(text + _end(self.smallest, SMALLEST, ends))
        return ", ".join(parts) or "none"

    def apply(
        self, prediction: Labels, probabilities: Probabilities | None, connectivity: int
    ) -> Labels:
        """The treated label map; ``probabilities`` are needed where it cuts not at 0.5."""
        label_map = prediction
        if self.cuts:
            if probabilities is None:
                raise ValueError(f"probabilities: got None, which {self.title} needs")
            label_map = self._cut(probabilities, connectivity)
        if self.radius:
            label_map = close(label_map, (2 * self.radius + 1,))
        if self.smallest:
            kept = label_map.copy()
            for label in range(1, int(label_map.max(initial=0)) + 1):
                mask = label_map == label
                kept[mask & ~without_small(mask, self.smallest, connectivity)] = BACKGROUND
            label_map = kept
        return label_map

    def _cut(self, probabilities: Probabilities, connectivity: int) -> Labels:
        mask, high = (probabilities >= BYTE_VALUES * cut for cut in (self.low, self.high))
        if self.low != self.high:
            pieces = components(mask, connectivity)
            mask = mask & np.isin(pieces, np.unique(pieces[high]))
        return mask.astype(np.uint8)


def _end(value: Level, tried: Iterable[Level], ends: bool) -> str:
    """In brackets, where nothing above or nothing below the value was tried, if asked for."""
    ordered = sorted(tried)
    if ends and value == ordered[-1]:
        return " (the highest tried)"
    return " (the lowest tried)" if ends and value == ordered[0] else ""


def candidates(classes: int) -> list[Postprocessing]:
    """What the search tries, the simplest first.

    With more classes than background and foreground the most probable class stays: which of them
    a lower threshold should favour, nobody has said.
    """
    cuts = CUTS if classes == 2 else ((HALF, HALF),)
    found = [Postprocessing(*cut, *rest) for cut, *rest in product(cuts, RADII, SMALLEST)]
    return sorted(found, key=lambda candidate: candidate.complexity)


def stored(probabilities: Planes) -> Probabilities:
    """Probabilities of the foreground [*spatial] as bytes: above k/256 are those of k or more.

    Example:
        >>> stored(np.array([0.0, 0.25, 0.5, 0.5001, 1.0], np.float32)).tolist()
        [0, 63, 127, 128, 255]
    """
    values = np.ceil(probabilities * np.float32(BYTE_VALUES)) - 1
    in_bytes: Probabilities = np.clip(values, 0, BYTE_VALUES - 1).astype(np.uint8)
    return in_bytes


def close(label_map: Labels, window: tuple[int, ...]) -> Labels:
    """Every foreground class closed with a box, where it does not cover another class.

    ``window``: its side, or one side per axis. Beyond the border the image is taken to go on, so
    that closing adds pixels and never takes any away.

    Example:
        >>> close(np.array([[1, 1, 0, 1, 1, 0, 0]], np.uint8), (3,))
        array([[1, 1, 1, 1, 1, 0, 0]], dtype=uint8)
    """
    sides = window * label_map.ndim if len(window) == 1 else window
    closed = label_map.copy()
    for label in range(1, int(label_map.max(initial=0)) + 1):
        padded = np.pad(label_map == label, [(side, side) for side in sides], mode="edge")
        filled = minimum_filter(maximum_filter(padded, sides), sides)
        inside = tuple(slice(side, -side) for side in sides)
        closed[(closed == BACKGROUND) & filled[inside]] = label
    return closed
