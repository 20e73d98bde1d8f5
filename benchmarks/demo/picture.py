"""Draw the one picture of the demo: an image, its truth, what each method made of it, and how
the training went."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator

from benchmarks.common.files import written_whole
from benchmarks.common.marks import Marks, find_marks
from benchmarks.common.panels import (
    Window,
    counted,
    legend,
    most_telling_window,
    show,
    show_segmentation,
    show_truth,
    stretched,
)
from benchmarks.demo.comparison import Run, most_telling, runs_of_seed
from benchmarks.demo.methods import JOINT, PLAIN, SCNP
from benchmarks.demo.samples import Sample, Splits

LINES = {PLAIN: ("black", "-", "o"), SCNP: ("#009E73", "--", "s"), JOINT: ("#E69F00", "-.", "^")}


def draw_picture(path: Path, splits: Splits, runs: list[Run]) -> None:
    """Write the picture of the most telling test image of the first seed to `path` (PNG)."""
    runs = runs_of_seed(runs, runs[0].seed)
    index = most_telling(runs)
    sample = splits.test[index]
    marks = {run.method: find_marks(run.segmentations[index], sample.truth) for run in runs}
    window = most_telling_window(sample.truth.shape, marks, PLAIN)
    figure = Figure(figsize=(14, 11.2), layout=ConstrainedLayoutEngine(h_pad=0.08))
    FigureCanvasAgg(figure)
    figure.suptitle(_title(splits, runs[0], sample, window), fontsize=13)
    (image_axes, truth_axes, curve_axes), method_axes = figure.subplots(2, 3)
    show(image_axes, "image", np.asarray(window.of(stretched(sample.image))))
    show_truth(truth_axes, sample.truth, window)
    _draw_curves(curve_axes, runs)
    for axes, run in zip(method_axes, runs, strict=True):
        _draw_segmentation(axes, run, index, sample, marks[run.method], window)
    figure.legend(handles=legend(), loc="outside lower center", ncols=6, fontsize=10)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _title(splits: Splits, run: Run, sample: Sample, window: Window) -> str:
    part = "" if (window.height, window.width) == sample.truth.shape else " (a part of it)"
    return (
        f"{splits.title}, seed {run.seed}: test image {sample.name}{part}, chosen because the "
        f"Betti-0 error falls the most on it;\nthe means over all {len(run.scores)} test images "
        "stand below each method"
    )


def _draw_segmentation(
    axes: Axes, run: Run, index: int, sample: Sample, marks: Marks, window: Window
) -> None:
    score = run.scores[index]
    title = f"{run.method}: Betti-0 error {score.betti0_error}, Dice {score.dice:.3f}"
    show_segmentation(axes, title, run.segmentations[index], sample.truth, marks, window)
    axes.set_xlabel(
        f"{counted(marks)}\n"
        f"mean over {len(run.scores)} test images: "
        f"Betti-0 error {mean(s.betti0_error for s in run.scores):.2f}, "
        f"Dice {mean(s.dice for s in run.scores):.3f}",
        fontsize=11,
    )


def _draw_curves(axes: Axes, runs: list[Run]) -> None:
    """Validation Betti-0 error over the iterations; the three methods measured alike."""
    for run in runs:
        colour, line, marker = LINES[run.method]
        axes.plot(
            run.curve.iterations,
            run.curve.betti0_error,
            color=colour,
            linestyle=line,
            marker=marker,
            label=run.method,
        )
    axes.set_yscale("symlog", linthresh=1)  # a logarithm that takes an error of 0 too
    axes.set_box_aspect(1)  # as tall as the images beside it
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=[1, 2, 5]))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_title("validation Betti-0 error over the iterations (mean)", fontsize=12)
    axes.grid(alpha=0.3)
    axes.legend()
