"""The measures of one prediction; volumes are scored on overlapping cubes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from statistics import mean

import numpy as np

from benchmarks.topology import measures
from benchmarks.topology.configuration import Configuration
from benchmarks.topology.datasets import Labels

Score = dict[str, str | float]  # "image", then one entry per measure

MEASURES: dict[str, Callable[[measures.Mask, measures.Mask, int], float]] = {
    "dice": lambda prediction, truth, _: measures.dice(prediction, truth),
    "betti0_error": measures.betti0_error,
    "betti1_error": measures.betti1_error,
    "betti_error": measures.betti_error,
    "betti_matching_error": lambda prediction, truth, connectivity: measures.betti_matching_error(
        prediction, truth, connectivity=connectivity
    ),
    "cldice": lambda prediction, truth, _: measures.cldice(prediction, truth),
    "roundness_error": lambda prediction, truth, connectivity: measures.roundness_error(
        prediction, truth, connectivity=connectivity
    ),
}


def score_image(
    name: str,
    prediction: Labels,
    truth: Labels,
    configuration: Configuration,
    disjoint: bool = False,
) -> list[Score]:
    """The measures of one prediction: one row for an image, one per cube for a volume.

    The cubes overlap by half, or not at all where they are to be ``disjoint``. With several
    foreground classes every measure is their mean.
    """
    return [
        {"image": f"{name}{place}", **_measure(prediction[part], truth[part], configuration)}
        for place, part in parts(truth.shape, configuration.tile, disjoint)
    ]


def _measure(
    prediction: Labels, truth: Labels, configuration: Configuration
) -> dict[str, str | float]:
    return {
        measure: mean(
            MEASURES[measure](prediction == label, truth == label, configuration.connectivity)
            for label in range(1, configuration.classes)
        )
        for measure in configuration.measures
    }


def parts(
    shape: tuple[int, ...], tile: int, disjoint: bool = False
) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The whole, or cubes that cover it: of side ``tile``, overlapping by half.

    Disjoint ones have sides of about ``tile``, the same along an axis up to one pixel.
    """
    if len(shape) == 2 or tile == 0:
        yield "", tuple(slice(0, side) for side in shape)
        return
    for part in product(*((_disjoint if disjoint else _overlapping)(side, tile) for side in shape)):
        yield "[" + ",".join(str(along.start) for along in part) + "]", part


def _overlapping(side: int, tile: int) -> list[slice]:
    return [slice(start, start + tile) for start in _starts(side, tile)]


def _disjoint(side: int, tile: int) -> list[slice]:
    count = max(1, round(side / tile))
    edges = [side * number // count for number in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def _starts(side: int, tile: int) -> list[int]:
    last = max(0, side - tile)
    return sorted({*range(0, last, max(1, tile // 2)), last})


def mean_of(scores: list[Score], measure: str) -> float:
    """The mean of one measure over images."""
    return float(np.mean([float(score[measure]) for score in scores]))
