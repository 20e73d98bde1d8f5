"""Train and test every method with every seed: the experiment of the demo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from benchmarks.common.images import BoolMask
from benchmarks.demo.measures import betti0_error, cldice, dice
from benchmarks.demo.methods import METHODS, PLAIN, build_loss
from benchmarks.demo.samples import Sample, Splits
from benchmarks.demo.training import Curve, Recipe, TrainingError, segment, train

# Watching the training must not take longer than the training.
VALIDATION_IMAGES = 10
VALIDATION_SIDE = 256


@dataclass(frozen=True)
class Score:
    """How well one test image was segmented."""

    image: str
    dice: float
    betti0_error: int
    cldice: float


@dataclass(frozen=True)
class Run:
    """One training with one method and seed, and its results on the test images."""

    method: str
    seed: int
    seconds: float
    curve: Curve
    segmentations: list[BoolMask]  # in the order of the test images
    scores: list[Score]  # in the order of the test images


def compare(splits: Splits, recipe: Recipe, seeds: int, kernel_size: int) -> list[Run]:
    """Every method with every seed (0, 1, ...), with one progress bar for each training."""
    return [
        _run(splits, recipe, method, seed, kernel_size)
        for seed in range(seeds)
        for method in METHODS
    ]


def score(prediction: BoolMask, sample: Sample) -> Score:
    """The three measures of one segmentation."""
    return Score(
        image=sample.name,
        dice=dice(prediction, sample.truth),
        betti0_error=betti0_error(prediction, sample.truth),
        cldice=cldice(prediction, sample.truth),
    )


def most_telling(runs: list[Run]) -> int:
    """The test image on which SCNP lowers the Betti-0 error the most, as its index.

    Counted as the error of the plain loss minus the mean of the others; the first seed decides.
    """
    first = runs_of_seed(runs, runs[0].seed)
    errors = {run.method: np.array([s.betti0_error for s in run.scores]) for run in first}
    others = [errors[method] for method in METHODS if method != PLAIN]
    return int(np.argmax(errors[PLAIN] - np.mean(others, axis=0)))


def runs_of_seed(runs: list[Run], seed: int) -> list[Run]:
    """The runs of one seed, in the order of the methods."""
    return [run for run in runs if run.seed == seed]


def _run(splits: Splits, recipe: Recipe, method: str, seed: int, kernel_size: int) -> Run:
    watched = [_middle_of(sample) for sample in splits.val[:VALIDATION_IMAGES]]
    loss = build_loss(method, kernel_size)
    title = f"seed {seed}, {method}"
    with tqdm(total=recipe.iterations, desc=f"{title:24}", unit="it") as bar:

        def advance(value: float) -> None:
            bar.set_postfix(loss=f"{value:.3f}", refresh=False)
            bar.update()

        try:
            trained = train(loss, splits.train, watched, recipe, seed, advance)
        except TrainingError as error:
            raise TrainingError(f"{title}: {error}") from error
    segmentations = [segment(trained.network, sample.image) for sample in splits.test]
    scores = [score(*pair) for pair in zip(segmentations, splits.test, strict=True)]
    return Run(method, seed, trained.seconds, trained.curve, segmentations, scores)


def _middle_of(sample: Sample) -> Sample:
    """The middle of a large image, so that watching the training stays cheap."""
    height, width = sample.truth.shape
    top, left = max(0, height - VALIDATION_SIDE) // 2, max(0, width - VALIDATION_SIDE) // 2
    rows, columns = slice(top, top + VALIDATION_SIDE), slice(left, left + VALIDATION_SIDE)
    return Sample(sample.name, sample.image[rows, columns], sample.truth[rows, columns])
