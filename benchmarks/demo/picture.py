"""Draw the one picture of the demo: an image, its truth, what each method made of it, and how
the training went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator

from benchmarks.common.files import written_whole
from benchmarks.common.images import BoolMask, FloatImage
from benchmarks.common.marks import Marks, Place, find_marks
from benchmarks.demo.comparison import Run, most_telling, runs_of_seed
from benchmarks.demo.methods import JOINT, PLAIN, SCNP
from benchmarks.demo.samples import Sample, Splits

# Okabe and Ito's colours, which colour-blind readers can tell apart.
ORANGE, BLUE, PURPLE = "#D55E00", "#0072B2", "#CC79A7"
CORRECT, MISSED, EXTRA = "#555555", "#BFDDF0", "#F6D3B5"
LINES = {PLAIN: ("black", "-", "o"), SCNP: ("#009E73", "--", "s"), JOINT: ("#E69F00", "-.", "^")}
LARGEST_SIDE = 384  # of the part of an image that is shown: more and the marks become too small

ColourImage = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """The part of an image that is shown."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The part of `pixels` ([height, width, ...]) that lies in the window."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def holds(self, place: Place) -> bool:
        """Whether the place lies in the window."""
        return (
            self.top <= place[0] < self.top + self.height
            and self.left <= place[1] < self.left + self.width
        )


def draw_picture(path: Path, splits: Splits, runs: list[Run]) -> None:
    """Write the picture of the most telling test image of the first seed to `path` (PNG)."""
    runs = runs_of_seed(runs, runs[0].seed)
    index = most_telling(runs)
    sample = splits.test[index]
    marks = {run.method: find_marks(run.segmentations[index], sample.truth) for run in runs}
    window = most_telling_window(sample.truth.shape, marks)
    figure = Figure(figsize=(14, 11.2), layout=ConstrainedLayoutEngine(h_pad=0.08))
    FigureCanvasAgg(figure)
    figure.suptitle(_title(splits, runs[0], sample, window), fontsize=13)
    (image_axes, truth_axes, curve_axes), method_axes = figure.subplots(2, 3)
    _show(image_axes, "image", np.asarray(window.of(_stretched(sample.image))))
    truth_colours = _painted({CORRECT: sample.truth}, sample.truth.shape)
    _show(truth_axes, "ground truth", np.asarray(window.of(truth_colours)))
    _draw_curves(curve_axes, runs)
    for axes, run in zip(method_axes, runs, strict=True):
        _draw_segmentation(axes, run, index, sample, marks[run.method], window)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=6, fontsize=10)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110)


def most_telling_window(shape: tuple[int, ...], marks: dict[str, Marks]) -> Window:
    """The whole image, or of a large one the part where SCNP lowers the number of marks most."""
    height, width = min(shape[0], LARGEST_SIDE), min(shape[1], LARGEST_SIDE)
    windows = [
        Window(top, left, height, width)
        for top in _starts(shape[0], height)
        for left in _starts(shape[1], width)
    ]

    def fall(window: Window) -> float:
        count = {m: sum(map(window.holds, _places(found))) for m, found in marks.items()}
        return count[PLAIN] - mean(count[method] for method in count if method != PLAIN)

    return max(windows, key=fall)


def _starts(side: int, window_side: int) -> list[int]:
    return [*range(0, side - window_side, 32), side - window_side]


def _places(marks: Marks) -> list[Place]:
    return [*marks.false_components, *marks.breaks, *marks.missing]


def _title(splits: Splits, run: Run, sample: Sample, window: Window) -> str:
    part = "" if (window.height, window.width) == sample.truth.shape else " (a part of it)"
    return (
        f"{splits.title}, seed {run.seed}: test image {sample.name}{part}, chosen because the "
        f"Betti-0 error falls the most on it;\nthe means over all {len(run.scores)} test images "
        "stand below each method"
    )


def _stretched(image: FloatImage) -> ColourImage:
    """The image with its contrast stretched for display."""
    low, high = np.percentile(image, (0.5, 99.5))
    stretched: ColourImage = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return stretched


def _painted(layers: dict[str, BoolMask], shape: tuple[int, ...]) -> ColourImage:
    """White, with every mask painted in its colour; later ones lie on top. [height, width, 3]"""
    colours = np.ones((*shape, 3))
    for colour, mask in layers.items():
        colours[mask] = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return colours


def _show(axes: Axes, title: str, pixels: npt.NDArray[np.generic]) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set_title(title, fontsize=12)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_segmentation(
    axes: Axes, run: Run, index: int, sample: Sample, marks: Marks, window: Window
) -> None:
    prediction, truth, score = run.segmentations[index], sample.truth, run.scores[index]
    layers = {
        CORRECT: prediction & truth,
        MISSED: truth & ~prediction,
        EXTRA: prediction & ~truth,
        BLUE: marks.broken_off_mask,
        ORANGE: marks.false_mask,
    }
    title = f"{run.method}: Betti-0 error {score.betti0_error}, Dice {score.dice:.3f}"
    _show(axes, title, np.asarray(window.of(_painted(layers, truth.shape))))
    _ring(axes, marks.false_components, window, ORANGE, "o")
    _ring(axes, marks.breaks, window, BLUE, "o")
    _ring(axes, marks.missing, window, PURPLE, "s")
    axes.set_xlabel(
        f"{len(marks.false_components)} false components, {len(marks.breaks)} breaks, "
        f"{len(marks.missing)} missing\n"
        f"mean over {len(run.scores)} test images: "
        f"Betti-0 error {mean(s.betti0_error for s in run.scores):.2f}, "
        f"Dice {mean(s.dice for s in run.scores):.3f}",
        fontsize=11,
    )


def _ring(axes: Axes, places: list[Place], window: Window, colour: str, shape: str) -> None:
    shown = [place for place in places if window.holds(place)]
    axes.scatter(
        [column - window.left for _, column in shown],
        [row - window.top for row, _ in shown],
        s=230,
        marker=shape,
        facecolors="none",
        edgecolors=colour,
        linewidths=2,
        clip_on=False,
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


def _legend() -> list[Patch | Line2D]:
    return [
        Patch(color=CORRECT, label="correct"),
        Patch(color=MISSED, label="missed pixels"),
        Patch(color=EXTRA, label="extra pixels"),
        _ring_example("o", ORANGE, "false component"),
        _ring_example("o", BLUE, "break (piece broken off)"),
        _ring_example("s", PURPLE, "piece missing or merged"),
    ]


def _ring_example(shape: str, colour: str, label: str) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=shape,
        color=colour,
        fillstyle="none",
        markersize=13,
        markeredgewidth=2,
        label=label,
    )
