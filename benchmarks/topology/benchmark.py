"""`benchmark`: every loss with SCNP and without, tested image by image (Tables I.9 to I.12)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmarks.common.pictures import picture
from benchmarks.common.tables import write_table
from benchmarks.topology import losses, statistics
from benchmarks.topology.options import add_results_arguments, reports
from benchmarks.topology.results import (
    LOSS_TITLES,
    LOWER_IS_BETTER,
    MODE_TITLES,
    TITLES,
    Method,
    Results,
    common_window,
    comparable,
    plain,
)

SIGNIFICANT = 0.05
COLOURS = {"off": "black", "on": "#009E73", "joint": "#E69F00"}
MARKERS = {"off": "o", "on": "s", "joint": "^"}
NOTES = (
    "Mean ± standard deviation over the seeds of the mean over the test images. p: paired "
    "permutation test (10,000 permutations) against the same loss without SCNP, over images, each "
    "averaged over the seeds that both have finished. **Bold**: better than without SCNP at "
    "p < 0.05; _italic_: worse at p < 0.05. The Betti-0 error says little without Dice beside it: "
    "a prediction of nothing at all counts as one piece too few."
)


@dataclass(frozen=True)
class Cell:
    """One measure of one method."""

    mean: float
    deviation: float  # nan with one seed
    p_value: float | None  # against the plain loss; None for the plain loss itself
    difference: float | None  # from the plain loss, over the common seeds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark`."""
    add_results_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Write benchmark-SPLIT.md, .csv and .png for every data set and scored split."""
    for results, folder in reports(options):
        for split in results.configuration.tests:
            write_benchmark(results, split, folder)


def write_benchmark(results: Results, split: str, folder: Path) -> None:
    """The table and the picture of one split."""
    methods = comparable(results)
    measures = results.configuration.measures
    cells = {
        (method, measure): cell(results, method, split, measure)
        for method in methods
        for measure in measures
    }
    write_table(
        folder,
        f"benchmark-{split}",
        columns("loss", measures=measures),
        [
            [
                LOSS_TITLES[method.loss],
                MODE_TITLES[method.mode],
                len(results.seeds(method)),
                *(text for m in measures for text in texts(cells[method, m], m)),
            ]
            for method in methods
        ],
        before=_headline(results, methods[0], split),
        after=NOTES + _weakness(results, methods[0], split),
    )
    draw(results, split, cells, folder / f"benchmark-{split}.png")


def cell(results: Results, method: Method, split: str, measure: str) -> Cell:
    """Mean and deviation over seeds, and the comparison with the same loss without SCNP."""
    summary = statistics.over_seeds(results.values(method, split, measure))
    seeds = results.seeds(method, plain(method)) if method.mode != "off" else []
    if not seeds:
        return Cell(summary.mean, summary.deviation, None, None)
    with_scnp, without = (
        results.values(m, split, measure, seeds).mean() for m in (method, plain(method))
    )
    p_value = results.p_value(method, plain(method), split, measure)
    return Cell(summary.mean, summary.deviation, p_value, float(with_scnp - without))


def verdict(cell_: Cell, measure: str) -> str:
    """better, worse, or nothing where the difference is not significant."""
    if cell_.p_value is None or cell_.difference is None or cell_.p_value >= SIGNIFICANT:
        return ""
    lower = cell_.difference < 0
    return "better" if lower == (measure in LOWER_IS_BETTER) else "worse"


def columns(*first: str, measures: tuple[str, ...]) -> list[str]:
    """The header of a table with a value and a p-value for every measure."""
    pairs = [(TITLES[measure], f"p ({TITLES[measure]})") for measure in measures]
    return [*first, "SCNP", "seeds", *(name for pair in pairs for name in pair)]


def texts(cell_: Cell, measure: str) -> tuple[str, str]:
    """The mean with its deviation, marked where it differs from the plain loss; the p-value."""
    digits = digits_of(measure)
    value = f"{cell_.mean:.{digits}f}"
    if np.isfinite(cell_.deviation):
        value += f" ± {cell_.deviation:.{digits}f}"
    p_value = "" if cell_.p_value is None else f"{cell_.p_value:.4f}"
    return marked(value, cell_, measure), p_value


def marked(text: str, cell_: Cell, measure: str) -> str:
    """Bold where better than the plain loss, italic where worse."""
    mark = {"better": "**", "worse": "_"}.get(verdict(cell_, measure), "")
    return f"{mark}{text}{mark}"


def digits_of(measure: str) -> int:
    """After the point."""
    return 2 if measure == "betti0_error" else 4


def _headline(results: Results, method: Method, split: str) -> str:
    configuration = results.configuration
    images = len(results.images(method, split))
    window = "x".join(map(str, common_window(results)))
    what = "images" if configuration.spatial_dimensions == 2 or not configuration.tile else "cubes"
    return (
        f"{results.name}, {split}: {images} {what}, w = {window}, {configuration.iterations} "
        f"iterations, Betti-0 with {configuration.connectivity} neighbours."
    )


def _weakness(results: Results, method: Method, split: str) -> str:
    images = len(results.images(method, split))
    text = ""
    if 2.0 / 2**images >= SIGNIFICANT:
        text += (
            f" With {images} images no paired test can give a p-value below {2 / 2**images:.3g}."
        )
    if results.configuration.spatial_dimensions == 3 and results.configuration.tile:
        text += (
            " The cubes overlap and come from few volumes: they are not independent, and p is "
            "smaller than it should be."
        )
    return text


def draw(results: Results, split: str, cells: dict[tuple[Method, str], Cell], file: Path) -> None:
    """One panel per measure, one row per loss, one point per mode with its deviation."""
    measures = results.configuration.measures
    names = [name for name in losses.LOSSES if any(m.loss == name for m, _ in cells)]
    with picture(file, 1 + 4.2 * len(measures), 1.6 + 0.55 * len(names)) as figure:
        panels = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
        for axes, measure in zip(panels, measures, strict=True):
            _draw_panel(axes, names, measure, cells)
        panels[0].set_yticks(range(len(names)), [LOSS_TITLES[name] for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)  # the first loss on top
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=9)
        figure.suptitle(
            f"{results.name}, {split}: mean and standard deviation over seeds", fontsize=11
        )


def _draw_panel(
    axes: Axes, names: list[str], measure: str, cells: dict[tuple[Method, str], Cell]
) -> None:
    for offset, mode in ((-0.2, "off"), (0.0, "on"), (0.2, "joint")):
        shown = [
            (names.index(method.loss), cell_)
            for (method, its_measure), cell_ in cells.items()
            if method.mode == mode and its_measure == measure
        ]
        if shown:
            axes.errorbar(
                [cell_.mean for _, cell_ in shown],
                [row + offset for row, _ in shown],
                xerr=[np.nan_to_num(cell_.deviation) for _, cell_ in shown],
                fmt=MARKERS[mode],
                color=COLOURS[mode],
                capsize=2,
                label=MODE_TITLES[mode],
            )
    better = "lower" if measure in LOWER_IS_BETTER else "higher"
    axes.set_xlabel(f"{TITLES[measure]} ({better} is better)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(alpha=0.3)
