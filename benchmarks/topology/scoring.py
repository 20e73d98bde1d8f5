"""The measures of one prediction; large volumes are scored on disjoint cubes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
) -> list[Score]:
    """The measures of one prediction: one row for an image, one per cube for a volume.

    With several foreground classes every measure is their mean.
    """
    return [
        {"image": f"{name}{place}", **_measure(prediction[part], truth[part], configuration)}
        for place, part in parts(truth.shape, configuration.tile)
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


def parts(shape: Sequence[int], tile: int) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The whole, or the disjoint cubes that cover a volume, each with its place for a name.

    Their sides are about ``tile``, and along an axis the same up to one voxel.
    """
    sides = [_cuts(side, tile) if len(shape) == 3 and tile else [slice(0, side)] for side in shape]
    cubes = list(product(*sides))
    for cube in cubes:
        place = "[" + ",".join(str(along.start) for along in cube) + "]"
        yield place if len(cubes) > 1 else "", cube


def _cuts(side: int, tile: int) -> list[slice]:
    count = max(1, round(side / tile))
    edges = [side * number // count for number in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def mean_of(scores: list[Score], measure: str) -> float:
    """The mean of one measure over images."""
    return float(np.mean([float(score[measure]) for score in scores]))
