"""`convergence`: validation over the iterations, with SCNP and without (Fig. D.1)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator

from benchmarks.common.pictures import picture
from benchmarks.common.tables import write_table
from benchmarks.topology.benchmark import COLOURS, MARKERS
from benchmarks.topology.errors import UsageError
from benchmarks.topology.options import add_results_arguments, reports
from benchmarks.topology.records import CURVE, blaming, train_anew
from benchmarks.topology.results import (
    LOSS_TITLES,
    MODE_TITLES,
    TITLES,
    Method,
    Results,
    comparable,
)

WIDE = 4  # times the lowest error: from there on a logarithm shows more, and has enough numbers
NEARLY = 0.99  # of the last Dice: where a training is as good as done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `convergence`."""
    add_results_arguments(parser)
    parser.add_argument("--loss", default="ce_dice", help="whose curves to show (ce_dice)")


def run(options: argparse.Namespace) -> None:
    """Write convergence-LOSS.md, .csv and .png for every data set."""
    for results, folder in reports(options):
        methods = [method for method in comparable(results) if method.loss == options.loss]
        if not methods:
            raise UsageError(
                f"{results.folder}: --loss: got {options.loss}, of which no run is finished"
            )
        write_convergence(results, methods, folder)


def write_convergence(results: Results, methods: list[Method], folder: Path) -> None:
    """The table and the picture of one loss."""
    measures: list[str] = [
        m for m in ("dice", "betti0_error") if m in results.configuration.measures
    ]
    rows: list[list[object]] = []
    for method in methods:
        iterations, dice = curve(results, method, "dice")
        near = int(np.argmax(dice >= NEARLY * dice[-1]))
        row: list[object] = [
            MODE_TITLES[method.mode],
            len(results.seeds(method)),
            int(iterations[near]),
        ]
        for measure in measures:
            _, values = curve(results, method, measure)
            row += [f"{values[near]:.4g}", f"{values[-1]:.4g}"]
        rows.append(row)
    name = f"convergence-{methods[0].loss}"
    columns = [
        f"{TITLES[measure]} {when}" for measure in measures for when in ("there", "at the end")
    ]
    write_table(
        folder,
        name,
        ["SCNP", "seeds", f"iterations to {NEARLY:.0%} of the last Dice", *columns],
        rows,
        before=f"{results.name}, {LOSS_TITLES[methods[0].loss]}: validation images (the middle "
        "256 pixels of at most ten), mean over the seeds, plain network output.",
    )
    draw(results, methods, measures, folder / f"{name}.png")


def curve(
    results: Results, method: Method, measure: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Iterations, and the measure there as the mean over the seeds."""
    iterations: list[int] = []
    values = []
    for record in results.runs[method].values():
        with blaming(record.folder / CURVE, train_anew(record.folder)):
            points = record.curve()
            of_run = [int(float(point["iteration"])) for point in points]
            if iterations and of_run != iterations:
                raise ValueError(f"validations at {of_run}, of another seed at {iterations}")
            iterations = of_run
            values.append([float(point[measure]) for point in points])
    return np.array(iterations), np.array(values).mean(axis=0)


def draw(results: Results, methods: list[Method], measures: list[str], file: Path) -> None:
    """One panel per measure, one line per mode."""
    with picture(file, 5 * len(measures), 3.6) as figure:
        panels = figure.subplots(1, len(measures), squeeze=False)[0]
        for axes, measure in zip(panels, measures, strict=True):
            draw_curves(axes, results, methods, measure)
        panels[0].legend()
        figure.suptitle(f"{results.name}, {LOSS_TITLES[methods[0].loss]}")


def draw_curves(axes: Axes, results: Results, methods: list[Method], measure: str) -> None:
    """One measure of the validation images over the iterations, one line per mode."""
    curves = {method: curve(results, method, measure) for method in methods}
    for method, points in curves.items():
        axes.plot(
            *points,
            color=COLOURS[method.mode],
            marker=MARKERS[method.mode],
            label=MODE_TITLES[method.mode],
        )
    axes.set_xlabel("iteration")
    axes.set_title(f"validation {TITLES[measure]}")
    axes.grid(alpha=0.3)
    values = np.concatenate([values for _, values in curves.values()])
    if measure == "betti0_error" and values.max() > WIDE * max(1, values.min()):
        axes.set_yscale("symlog", linthresh=1)  # a logarithm that takes an error of 0 too
        ticks = SymmetricalLogLocator(base=10, linthresh=1, subs=[1, 2, 3, 5, 7])
        axes.yaxis.set_major_locator(ticks)
        axes.yaxis.set_major_formatter(ScalarFormatter())
