"""Synthetic vessel trees, for when there is no dataset: drawn by a program, not measured.

Thin branching vessels of low contrast on an uneven, noisy background. They fade for short
stretches (the truth runs on there, as an annotator would draw it), and there are short dark
streaks and spots that are no vessels. The same seed gives the same images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.filters import gaussian

from benchmarks.common.images import BoolMask
from benchmarks.topology.datasets import DataSet, Sample, standardise

TITLE = "synthetic vessels"
IMAGE_SIDE = 256
IMAGE_COUNTS = {"train": 32, "val": 12, "test": 40}

STEP = 1.0  # pixels between the discs that draw a vessel
THINNEST = 1.5  # radius in pixels at which a vessel ends
FAINTEST = 0.1  # share of a vessel's contrast that is left where it fades

FloatMap = npt.NDArray[np.float32]


@dataclass
class Disc:
    """One step of a growing vessel: where it is, where it heads, how thick it is."""

    row: float
    column: float
    heading: float  # radians
    radius: float
    bend: float = 0.0  # radians per step
    contrast: float = 1.0


def synthetic_data_set(
    seed: int = 0, side: int = IMAGE_SIDE, counts: dict[str, int] | None = None
) -> DataSet:
    """Train, validation and test images of `side` x `side` pixels, decided by `seed`."""
    counts = counts or IMAGE_COUNTS
    train, val, test = (
        [_sample(f"{split}_{i:02d}", (seed, number, i), side) for i in range(counts[split])]
        for number, split in enumerate(("train", "val", "test"))
    )
    return DataSet(TITLE, 2, train, val, {"test": test})


def _sample(name: str, seed: tuple[int, ...], side: int) -> Sample:
    image, truth = vessels(seed, side)
    colour = np.repeat(image[np.newaxis], 3, axis=0)
    return Sample(name, standardise(colour), truth.astype(np.uint8))


def vessels(seed: tuple[int, ...], side: int) -> tuple[FloatMap, BoolMask]:
    """An image [side, side] between 0 and 1, and its truth.

    The truth holds every vessel, faded or not, and nothing else.
    """
    random = np.random.default_rng(seed)
    truth = np.zeros((side, side), np.bool_)
    darkness = np.zeros((side, side), np.float32)
    for _ in range(int(random.integers(2, 4))):
        for disc in _tree(random, side):
            _draw(disc, darkness, truth)
    for disc in _distractors(random, side):
        _draw(disc, darkness, None)
    return _photograph(random, darkness), truth


def _tree(random: np.random.Generator, side: int) -> Iterator[Disc]:
    """A vessel that enters at the border, with all its branches."""
    edge = int(random.integers(4)) * math.pi / 2
    along = random.uniform(-0.35, 0.35) * side
    root = Disc(
        row=side / 2 - math.sin(edge) * side / 2 + math.cos(edge) * along,
        column=side / 2 - math.cos(edge) * side / 2 - math.sin(edge) * along,
        heading=edge + random.normal(0, 0.25),
        radius=random.uniform(3.4, 4.6),
    )
    waiting = [root]
    while waiting:
        disc = waiting.pop(0)
        for step in _vessel(random, disc, side):
            yield step
            disc = step
            if random.random() < 0.009:  # a thin side branch
                turn = random.choice([-1, 1]) * random.uniform(0.6, 1.2)
                waiting.append(_branch(disc, turn, random.uniform(0.5, 0.7)))
        if _inside(disc, side):  # it forks: one branch to either side
            waiting.append(_branch(disc, random.uniform(0.2, 0.7), random.uniform(0.7, 0.95)))
            waiting.append(_branch(disc, random.uniform(-0.7, -0.2), random.uniform(0.7, 0.95)))
        waiting = [disc for disc in waiting if disc.radius > THINNEST]


def _branch(parent: Disc, turn: float, thinner: float) -> Disc:
    return Disc(parent.row, parent.column, parent.heading + turn, parent.radius * thinner)


def _vessel(random: np.random.Generator, start: Disc, side: int) -> Iterator[Disc]:
    """From `start` until it forks, gets too thin or leaves the image."""
    steps = int(random.uniform(40, 90))
    fading = _fading(random, steps)
    disc = start
    for step in range(steps):
        bend = 0.95 * disc.bend + random.normal(0, 0.008)
        disc = Disc(
            row=disc.row + STEP * math.sin(disc.heading),
            column=disc.column + STEP * math.cos(disc.heading),
            heading=disc.heading + bend,
            radius=disc.radius * 0.997,
            bend=bend,
            contrast=float(fading[step]) * min(1.0, 0.1 + 0.3 * disc.radius),
        )
        if not _inside(disc, side) or disc.radius < THINNEST:
            return
        yield disc


def _inside(disc: Disc, side: int) -> bool:
    return 0 <= disc.row < side and 0 <= disc.column < side


def _fading(random: np.random.Generator, steps: int) -> FloatMap:
    """Contrast along a vessel, 1 but for short stretches where it nearly vanishes. [steps]"""
    fading = np.ones(steps, np.float32)
    for _ in range(int(random.poisson(steps / 45))):
        middle, half = random.uniform(0, steps), random.uniform(2, 5.5)
        bell = np.exp(-(((np.arange(steps) - middle) / half) ** 4))
        fading *= 1 - (1 - FAINTEST) * bell.astype(np.float32)
    return fading


def _distractors(random: np.random.Generator, side: int) -> Iterator[Disc]:
    """Short streaks and spots, dark as vessels are, that belong to no vessel."""
    for _ in range(side * side // 3500):
        row, column = random.uniform(0, side, 2)
        disc = Disc(row, column, random.uniform(0, 2 * math.pi), random.uniform(1.2, 1.8))
        for _ in range(int(random.uniform(1, 10))):
            disc = Disc(
                disc.row + STEP * math.sin(disc.heading),
                disc.column + STEP * math.cos(disc.heading),
                disc.heading,
                disc.radius,
                contrast=0.5,
            )
            yield disc


def _draw(disc: Disc, darkness: FloatMap, truth: BoolMask | None) -> None:
    """Draw one disc: soft-edged into `darkness`, hard-edged into `truth`."""
    reach = math.ceil(disc.radius) + 1
    top, left = max(0, round(disc.row) - reach), max(0, round(disc.column) - reach)
    window = (
        slice(top, round(disc.row) + reach + 1),
        slice(left, round(disc.column) + reach + 1),
    )
    rows, columns = np.indices(darkness[window].shape, np.float32)
    distance = np.hypot(rows + top - disc.row, columns + left - disc.column)
    soft = disc.contrast * np.clip(disc.radius + 0.5 - distance, 0, 1)
    darkness[window] = np.maximum(darkness[window], soft)
    if truth is not None:
        truth[window] |= distance <= disc.radius


def _photograph(random: np.random.Generator, darkness: FloatMap) -> FloatMap:
    """The image of the vessels: blurred, on uneven background, with texture and noise."""
    blurred = gaussian(darkness, 0.8)
    shading = 0.08 * _noise(random, darkness.shape, 30)
    texture = 0.025 * _noise(random, darkness.shape, 2)
    grain = 0.03 * _noise(random, darkness.shape, 0)
    image = 0.6 + shading + texture + grain - 0.2 * blurred
    clipped: FloatMap = np.clip(image, 0, 1).astype(np.float32)
    return clipped


def _noise(random: np.random.Generator, shape: tuple[int, ...], scale: float) -> FloatMap:
    """Noise with mean 0 and deviation 1 whose blotches measure about `scale` pixels."""
    noise = gaussian(random.standard_normal(shape), scale, mode="wrap")
    scaled: FloatMap = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return scaled
