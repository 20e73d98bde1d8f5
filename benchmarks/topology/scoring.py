"""The measures of one prediction; volumes are scored on overlapping cubes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from statistics import mean

import numpy as np

from benchmarks.topology import measures
from benchmarks.topology.configuration import Configuration
from benchmarks.topology.datasets import Labels

Score = dict[str, str | float]  # "image", then one entry per measure

MEASURES: dict[str, Callable[[measures.Mask, measures.Mask, int], float]] = {
    "dice": lambda prediction, truth, _: measures.dice(prediction, truth),
    "betti0_error": measures.betti0_error,
    "cldice": lambda prediction, truth, _: measures.cldice(prediction, truth),
    "roundness_error": lambda prediction, truth, connectivity: measures.roundness_error(
        prediction, truth, connectivity=connectivity
    ),
}


def score_image(
    name: str, prediction: Labels, truth: Labels, configuration: Configuration
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


def parts(shape: tuple[int, ...], tile: int) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The whole, or cubes of side ``tile`` that overlap by half and cover it."""
    if len(shape) == 2 or tile == 0:
        yield "", tuple(slice(0, side) for side in shape)
        return
    for starts in product(*(_starts(side, tile) for side in shape)):
        part = tuple(slice(start, start + tile) for start in starts)
        yield "[" + ",".join(map(str, starts)) + "]", part


def _starts(side: int, tile: int) -> list[int]:
    last = max(0, side - tile)
    return sorted({*range(0, last, max(1, tile // 2)), last})


def mean_of(scores: list[Score], measure: str) -> float:
    """The mean of one measure over images."""
    return float(np.mean([float(score[measure]) for score in scores]))
