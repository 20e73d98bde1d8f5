"""`closing`: does closing gaps afterwards do what SCNP does in training (Table E.3)?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_closing

from benchmarks.common.errors import UsageError
from benchmarks.common.pictures import panels, title
from benchmarks.common.tables import by, write_table
from benchmarks.topology.benchmark import COLOURS, MARKERS, Cells, better_is, cell_of, columns
from benchmarks.topology.configuration import Configuration
from benchmarks.topology.datasets import Labels
from benchmarks.topology.options import Reports, kernel_size
from benchmarks.topology.records import truths
from benchmarks.topology.results import (
    LOSS_TITLES,
    TITLES,
    Method,
    Results,
    comparable,
)
from benchmarks.topology.scoring import Score, score_image

BACKGROUND = 0
WINDOWS = ((3,), (5,), (7,))
NOTES = (
    "Mean ± standard deviation over the seeds of the mean over the test images. p: paired "
    "permutation test (10,000 permutations) against the same predictions left as they are, over "
    "images, each averaged over its seeds. **Bold**: better at p < 0.05; _italic_: worse. "
    "A training that collapsed is in no mean, and its method has no p."
)

Scores = dict[str, npt.NDArray[np.float64]]  # of every measure, [seeds, images]


@dataclass(frozen=True)
class Closed:
    """One method's predictions, closed with one window or left as they are."""

    method: Method
    window: tuple[int, ...] | None
    scores: Scores

    @property
    def side(self) -> str:
        """Of the window, as text."""
        return by(self.window) if self.window else "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `closing`."""
    parser.add_argument("--loss", default="ce_dice", help="whose predictions to close (ce_dice)")
    parser.add_argument(
        "--windows", type=kernel_size, default=WINDOWS, help="of the closing (3,5,7)"
    )


def run(options: argparse.Namespace, found: Reports) -> None:
    """Write closing-LOSS-SPLIT.md, .csv and .png for every data set and scored split."""
    written = 0
    for results, folder in found:
        methods = [method for method in comparable(results) if method.loss == options.loss]
        for split in results.configuration.tests if methods else ():
            versions = [
                version
                for method in methods
                for version in closed_versions(results, method, split, options.windows)
            ]
            write_closing(results, split, options.loss, versions, folder)
            written += 1
    if not written:
        raise UsageError(f"{options.out}: --loss: got {options.loss}, which has no finished run")


def closed_versions(
    results: Results, method: Method, split: str, windows: Sequence[tuple[int, ...]]
) -> list[Closed]:
    """The method's predictions as they are, then closed with every window."""
    seeds = results.sound(method, split)
    plain = {m: results.values(method, split, m, seeds) for m in results.measures}
    versions = [Closed(method, None, plain)]
    truth = truths(results.folder, split)
    predictions = [results.runs[method][seed].predictions(truth) for seed in seeds]
    for window in windows:
        of_seeds = [
            _scores_closed(of_seed, truth, window, results.configuration) for of_seed in predictions
        ]
        scores = {measure: np.array([s[measure] for s in of_seeds]) for measure in results.measures}
        versions.append(Closed(method, window, scores))
    return versions


def _scores_closed(
    predictions: Mapping[str, Labels],
    truth: Mapping[str, Labels],
    window: tuple[int, ...],
    configuration: Configuration,
) -> dict[str, list[float]]:
    """The scores of one run's closed predictions, by measure; images in the order of names."""
    rows: list[Score] = []
    for key, label_map in truth.items():
        name = key.split("/", 1)[1]
        rows += score_image(name, close(predictions[key], window), label_map, configuration)
    rows.sort(key=lambda row: str(row["image"]))
    return {m: [float(row[m]) for row in rows] for m in configuration.measures}


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
        filled = binary_closing(padded, np.ones(sides, np.bool_))
        inside = tuple(slice(side, -side) for side in sides)
        closed[(closed == BACKGROUND) & filled[inside]] = label
    return closed


def write_closing(
    results: Results, split: str, loss: str, versions: Sequence[Closed], folder: Path
) -> None:
    """The table and the picture of one split."""
    plain = {version.method: version for version in versions if version.window is None}
    write_table(
        folder,
        f"closing-{loss}-{split}",
        [
            {
                "SCNP": version.method.mode_title,
                "closing": version.side,
                "seeds": results.counted(version.method, split),
                **columns(_cells(results, split, version, plain[version.method])),
            }
            for version in versions
        ],
        before=f"{results.name}, {split}, {LOSS_TITLES[loss]}: predictions as they are, and after "
        "binary closing with a box of this side.",
        after=NOTES,
        warning=results.warning,
    )
    draw(results, split, loss, versions, folder / f"closing-{loss}-{split}.png")


def draw(results: Results, split: str, loss: str, versions: Sequence[Closed], file: Path) -> None:
    """One panel per measure: every method over the side of the closing, with its deviation."""
    count = len(results.measures)
    sides = list(dict.fromkeys(version.side for version in versions))
    with panels(file, 1 + 3.8 * count, 3.8, count) as (figure, all_axes):
        for axes, measure in zip(all_axes, results.measures, strict=True):
            for method in dict.fromkeys(version.method for version in versions):
                of_method = [version for version in versions if version.method == method]
                cells = [cell_of(version.scores[measure]) for version in of_method]
                axes.errorbar(
                    [sides.index(version.side) for version in of_method],
                    [cell.mean for cell in cells],
                    yerr=np.nan_to_num([cell.deviation for cell in cells]),
                    marker=MARKERS[method.mode],
                    color=COLOURS[method.mode],
                    capsize=2,
                    label=method.mode_title,
                )
            axes.set_xticks(range(len(sides)), sides)
            axes.set_xlabel("side of the closing, pixels")
            axes.set_title(f"{TITLES[measure]} ({better_is(measure)})", fontsize=11)
            axes.grid(alpha=0.3)
        all_axes[0].legend(fontsize=9)
        heading = f"{results.name}, {split}, {LOSS_TITLES[loss]}: predictions closed afterwards"
        title(figure, heading, results.warning)


def _cells(results: Results, split: str, version: Closed, plain: Closed) -> Cells:
    """Every measure, compared with the same predictions as they are, unless a seed collapsed."""
    if version is plain or results.collapsed(version.method, split):
        return {measure: cell_of(scores) for measure, scores in version.scores.items()}
    return {
        measure: cell_of(scores, scores, plain.scores[measure])
        for measure, scores in version.scores.items()
    }
