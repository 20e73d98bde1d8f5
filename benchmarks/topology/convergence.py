"""`convergence`: validation over the iterations, with SCNP and without (Fig. D.1)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator

from benchmarks.common.errors import UsageError
from benchmarks.common.pictures import panels, title
from benchmarks.common.tables import write_table
from benchmarks.topology import pilot
from benchmarks.topology.benchmark import COLOURS, MARKERS
from benchmarks.topology.options import Reports
from benchmarks.topology.records import CURVE, blaming, train_anew
from benchmarks.topology.results import TITLES, Method, Results, comparable

WIDE = 4  # times the lowest error: from there on a logarithm shows more, and has enough numbers
NEARLY = 0.99  # of the last Dice: where a training is as good as done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `convergence`."""
    parser.add_argument("--loss", default="ce_dice", help="whose curves to show (ce_dice)")


def run(options: argparse.Namespace, found: Reports) -> None:
    """Write convergence-LOSS.md, .csv and .png for every data set."""
    for results, folder in found:
        methods = [method for method in comparable(results) if method.loss == options.loss]
        if not methods:
            raise UsageError(
                f"{results.folder}: --loss: got {options.loss}, of which no run is finished"
            )
        write_convergence(results, methods, folder)
        if pilot.sentence(results.folder):
            pilot.draw(results.folder, results.name, folder)


def write_convergence(results: Results, methods: list[Method], folder: Path) -> None:
    """The table and the picture of one loss."""
    measures: list[str] = [m for m in ("dice", "betti0_error") if m in results.measures]
    places = ("there", "at the end")
    titles = [f"iterations to {NEARLY:.0%} of the last Dice"]
    titles += [f"{TITLES[measure]} {place}" for measure in measures for place in places]
    rows: list[dict[str, object]] = []
    for method in methods:
        iterations, dice = curve(results, method, "dice")
        texts = [""] * len(titles)
        if dice.size:
            near = int(np.argmax(dice >= NEARLY * dice[-1]))
            curves = [curve(results, method, measure)[1] for measure in measures]
            texts = [str(iterations[near])]
            texts += [f"{values[place]:.4g}" for values in curves for place in (near, -1)]
        seeds = results.counted(method, results.split)
        figures = dict(zip(titles, texts, strict=True))
        rows.append({"SCNP": method.mode_title, "seeds": seeds, **figures})
    name = f"convergence-{methods[0].loss}"
    write_table(
        folder,
        name,
        rows,
        before=f"{results.name}, {methods[0].loss_title}: validation images (at "
        "most ten, of large ones the middle), mean over the seeds, plain network output. "
        + pilot.sentence(results.folder),
        warning=results.warning,
    )
    draw(results, methods, measures, folder / f"{name}.png")


def curve(
    results: Results, method: Method, measure: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Iterations, and the measure there as the mean over the sound seeds; empty without one."""
    iterations: list[int] = []
    values = []
    for record in (results.runs[method][seed] for seed in results.sound(method, results.split)):
        with blaming(record.folder / CURVE, train_anew(record.folder)):
            points = record.curve()
            of_run = [int(float(point["iteration"])) for point in points]
            if iterations and of_run != iterations:
                raise ValueError(f"validations at {of_run}, of another seed at {iterations}")
            iterations = of_run
            values.append([float(point[measure]) for point in points])
    means = np.array(values).mean(axis=0) if values else np.array([])
    return np.array(iterations, np.int64), means


def draw(results: Results, methods: list[Method], measures: list[str], file: Path) -> None:
    """One panel per measure, one line per mode."""
    with panels(file, 5 * len(measures), 3.6, len(measures)) as (figure, all_axes):
        for axes, measure in zip(all_axes, measures, strict=True):
            draw_curves(axes, results, methods, measure)
        all_axes[0].legend()
        title(figure, f"{results.name}, {methods[0].loss_title}", results.warning)


def draw_curves(axes: Axes, results: Results, methods: list[Method], measure: str) -> None:
    """One measure of the validation images over the iterations, one line per mode."""
    curves = {method: curve(results, method, measure) for method in methods}
    for method, points in curves.items():
        axes.plot(
            *points,
            color=COLOURS[method.mode],
            marker=MARKERS[method.mode],
            label=method.mode_title,
        )
    axes.set_xlabel("iteration")
    axes.set_title(f"validation {TITLES[measure]}")
    axes.grid(alpha=0.3)
    values = np.concatenate([values for _, values in curves.values()])
    if measure == "betti0_error" and values.size and values.max() > WIDE * max(1, values.min()):
        axes.set_yscale("symlog", linthresh=1)  # a logarithm that takes an error of 0 too
        ticks = SymmetricalLogLocator(base=10, linthresh=1, subs=[1, 2, 3, 5, 7])
        axes.yaxis.set_major_locator(ticks)
        axes.yaxis.set_major_formatter(ScalarFormatter())
