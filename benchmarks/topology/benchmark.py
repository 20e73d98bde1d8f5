"""`benchmark`: every loss with SCNP and without, tested image by image (Tables I.9 to I.12)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmarks.common.pictures import panels, title
from benchmarks.common.tables import by, write_table
from benchmarks.topology import statistics
from benchmarks.topology.options import Reports
from benchmarks.topology.results import (
    CUBES_NOTE,
    LOWER_IS_BETTER,
    MODE_TITLES,
    TITLES,
    Method,
    Results,
    common_window,
    comparable,
)

SIGNIFICANT = 0.05
COLOURS = {"off": "black", "on": "#009E73", "joint": "#E69F00", "warm_up": "#0072B2"}
MARKERS = {"off": "o", "on": "s", "joint": "^", "warm_up": "D"}


@dataclass(frozen=True)
class Cell:
    """One measure of one method."""

    mean: float
    deviation: float  # nan with one seed
    p_value: float | None  # against the plain loss; None for the plain loss itself
    difference: float | None  # from the plain loss, over the common seeds


Cells = dict[str, Cell]  # by measure
Scores = npt.NDArray[np.float64]  # [seeds, images]


def run(_options: argparse.Namespace, found: Reports) -> None:
    """Write benchmark-SPLIT.md, .csv and .png for every data set and scored split."""
    for results, folder in found:
        for split in results.configuration.tests:
            write_benchmark(results, split, folder)


def write_benchmark(results: Results, split: str, folder: Path) -> None:
    """The table and the picture of one split."""
    cells = {method: cells_of(results, method, split) for method in comparable(results)}
    write_table(
        folder,
        f"benchmark-{split}",
        [
            {
                "loss": method.loss_title,
                "SCNP": method.mode_title,
                "seeds": results.counted(method, split),
                **columns(of_method),
            }
            for method, of_method in cells.items()
        ],
        before=_headline(results, split),
        after=notes(results, split) + _weakness(results, split),
        warning=results.warning,
    )
    draw(results, split, cells, folder / f"benchmark-{split}.png")


def notes(results: Results, split: str) -> str:
    """What the columns of ``columns`` mean."""
    units = results.scored_as(split)
    return (
        f"Mean ± standard deviation over the seeds of the mean over the test {units}. p: paired "
        f"permutation test (10,000 permutations) against the same loss without SCNP, over {units}, "
        "each averaged over the seeds that both have finished. **Bold**: better than without SCNP "
        "at p < 0.05; _italic_: worse at p < 0.05. A training that collapsed (found at most 1 % of "
        "a class's pixels) is in no mean; its method has no p, nor has what is compared with it. "
        "The Betti-0 error says little without Dice beside it: a prediction of nothing at all "
        "counts as one piece too few."
    )


def cells_of(results: Results, method: Method, split: str) -> Cells:
    """Every measure of a method."""
    return {measure: cell(results, method, split, measure) for measure in results.measures}


def cell(results: Results, method: Method, split: str, measure: str) -> Cell:
    """Mean and deviation over seeds, and the comparison with the same loss without SCNP."""
    scores = results.values(method, split, measure)
    seeds = results.tested(method, split)
    if not seeds:
        return cell_of(scores)
    pair = (results.values(m, split, measure, seeds) for m in (method, method.plain))
    return cell_of(scores, *pair)


def cell_of(scores: Scores, paired: Scores | None = None, plain: Scores | None = None) -> Cell:
    """Of scores [seeds, images]; the test is between ``paired`` and ``plain``, of equal seeds.

    Without a seed the mean is nan.
    """
    if not scores.size:
        return Cell(float("nan"), float("nan"), None, None)
    mean, deviation = statistics.over_seeds(scores)
    if paired is None or plain is None:
        return Cell(mean, deviation, None, None)
    over_images = statistics.over_images
    p_value = statistics.permutation_test(over_images(paired), over_images(plain))
    return Cell(mean, deviation, p_value, float(paired.mean() - plain.mean()))


def verdict(cell_: Cell, measure: str) -> str:
    """better, worse, or nothing where the difference is not significant."""
    if cell_.p_value is None or cell_.difference is None or cell_.p_value >= SIGNIFICANT:
        return ""
    lower = cell_.difference < 0
    return "better" if lower == (measure in LOWER_IS_BETTER) else "worse"


def columns(cells: Cells) -> dict[str, str]:
    """A table's columns: each mean with its deviation, marked where it differs, and its p-value."""
    texts = {}
    for measure, cell_ in cells.items():
        digits = digits_of(measure)
        value = "" if np.isnan(cell_.mean) else f"{cell_.mean:.{digits}f}"
        if np.isfinite(cell_.deviation):
            value += f" ± {cell_.deviation:.{digits}f}"
        texts[TITLES[measure]] = marked(value, cell_, measure)
        p_value = "" if cell_.p_value is None else f"{cell_.p_value:.4f}"
        texts[f"p ({TITLES[measure]})"] = p_value
    return texts


def marked(text: str, cell_: Cell, measure: str) -> str:
    """Bold where better than the plain loss, italic where worse."""
    mark = {"better": "**", "worse": "_"}.get(verdict(cell_, measure), "")
    return f"{mark}{text}{mark}"


def digits_of(measure: str) -> int:
    """After the point."""
    return 2 if measure.startswith("betti") else 4


def better_is(measure: str) -> str:
    """Which way is better, as pictures say it."""
    return "lower is better" if measure in LOWER_IS_BETTER else "higher is better"


def _headline(results: Results, split: str) -> str:
    configuration = results.configuration
    count = results.scored(split)
    return (
        f"{results.name}, {split}: {count} {results.scored_as(split, count)}, "
        f"w = {by(common_window(results))}, {configuration.iterations} iterations, Betti-0 with "
        f"{configuration.connectivity} neighbours."
    )


def _weakness(results: Results, split: str) -> str:
    count = results.scored(split)
    least = statistics.least_p_value(count)
    text = ""
    if least >= SIGNIFICANT:
        text += (
            f" With {count} {results.scored_as(split, count)} no paired test can give a p-value "
            f"below {least:.3g}."
        )
    return f"{text} {CUBES_NOTE}" if results.is_cut(split) else text


def draw(results: Results, split: str, cells: Mapping[Method, Cells], file: Path) -> None:
    """One panel per measure, one row per loss, one point per mode with its deviation."""
    count = len(results.measures)
    titles = list(dict.fromkeys(method.loss_title for method in cells))
    height = 1.6 + 0.55 * len(titles)
    with panels(file, 1 + 4.2 * count, height, count, sharey=True) as (figure, all_axes):
        for axes, measure in zip(all_axes, results.measures, strict=True):
            _draw_panel(axes, titles, measure, cells)
        all_axes[0].set_yticks(range(len(titles)), titles)
        all_axes[0].set_ylim(len(titles) - 0.5, -0.5)  # the first loss on top
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=9)
        heading = f"{results.name}, {split}: mean and standard deviation over seeds"
        title(figure, heading, results.warning, 11)


def _draw_panel(axes: Axes, titles: list[str], measure: str, cells: Mapping[Method, Cells]) -> None:
    for offset, mode in ((-0.24, "off"), (-0.08, "on"), (0.08, "joint"), (0.24, "warm_up")):
        shown = {m.loss_title: of[measure] for m, of in cells.items() if m.mode == mode}
        if shown:
            axes.errorbar(
                [cell_.mean for cell_ in shown.values()],
                [titles.index(name) + offset for name in shown],
                xerr=[np.nan_to_num(cell_.deviation) for cell_ in shown.values()],
                fmt=MARKERS[mode],
                color=COLOURS[mode],
                capsize=2,
                label=MODE_TITLES[mode],
            )
    axes.set_xlabel(f"{TITLES[measure]} ({better_is(measure)})")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(alpha=0.3)
