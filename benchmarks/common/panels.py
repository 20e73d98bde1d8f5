"""Draw segmentations beside an image: what is right, missed or extra, with mistakes circled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.common.images import BoolMask
from benchmarks.common.marks import Marks, Place

# Okabe and Ito's colours, which colour-blind readers can tell apart.
ORANGE, BLUE, PURPLE = "#D55E00", "#0072B2", "#CC79A7"
CORRECT, MISSED, EXTRA = "#555555", "#BFDDF0", "#F6D3B5"
RING_POINTS = 9  # by which a ring around the outermost pixel reaches beyond the image
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


def most_telling_window(shape: tuple[int, ...], marks: Mapping[str, Marks], plain: str) -> Window:
    """The whole image, or of a large one the part where SCNP lowers the number of marks most.

    ``marks`` are by method; ``plain`` is the method that the others are compared with.
    """
    height, width = min(shape[0], LARGEST_SIDE), min(shape[1], LARGEST_SIDE)
    windows = [
        Window(top, left, height, width)
        for top in _starts(shape[0], height)
        for left in _starts(shape[1], width)
    ]

    def fall(window: Window) -> float:
        count = {m: sum(map(window.holds, _places(found))) for m, found in marks.items()}
        return count[plain] - mean(count[method] for method in count if method != plain)

    return max(windows, key=fall)


def _starts(side: int, window_side: int) -> list[int]:
    return [*range(0, side - window_side, 32), side - window_side]


def _places(marks: Marks) -> list[Place]:
    return [*marks.false_components, *marks.breaks, *marks.missing]


def stretched(image: npt.NDArray[np.floating]) -> ColourImage:
    """The image with its contrast stretched for display."""
    low, high = np.percentile(image, (0.5, 99.5))
    clipped: ColourImage = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return clipped


def painted(layers: Mapping[str, BoolMask], shape: tuple[int, ...]) -> ColourImage:
    """White, with every mask painted in its colour; later ones lie on top. [height, width, 3]"""
    colours = np.ones((*shape, 3))
    for colour, mask in layers.items():
        colours[mask] = to_rgb(colour)
    return colours


def show(axes: Axes, title: str, pixels: npt.NDArray[np.generic]) -> None:
    """An image without axes; grey if it has no colours."""
    axes.imshow(pixels, interpolation="nearest", cmap="gray")
    axes.set_title(title, fontsize=12)
    axes.set_xticks([])
    axes.set_yticks([])


def show_truth(axes: Axes, truth: BoolMask, window: Window) -> None:
    """The ground truth in the window."""
    show(axes, "ground truth", np.asarray(window.of(painted({CORRECT: truth}, truth.shape))))


def show_segmentation(
    axes: Axes, title: str, prediction: BoolMask, truth: BoolMask, marks: Marks, window: Window
) -> None:
    """A segmentation in the window, with its mistakes in colour and circled."""
    layers = {
        CORRECT: prediction & truth,
        MISSED: truth & ~prediction,
        EXTRA: prediction & ~truth,
        BLUE: marks.broken_off_mask,
        ORANGE: marks.false_mask,
    }
    show(axes, title, np.asarray(window.of(painted(layers, truth.shape))))
    axes.set_title(title, fontsize=12, pad=RING_POINTS)  # rings reach beyond the border
    _ring(axes, marks.false_components, window, ORANGE, "o")
    _ring(axes, marks.breaks, window, BLUE, "o")
    _ring(axes, marks.missing, window, PURPLE, "s")


def counted(marks: Marks) -> str:
    """How many mistakes of each kind."""
    false, breaks = len(marks.false_components), len(marks.breaks)
    return (
        f"{false} false component{'' if false == 1 else 's'}, "
        f"{breaks} break{'' if breaks == 1 else 's'}, {len(marks.missing)} missing"
    )


def legend() -> list[Patch | Line2D]:
    """What colours and rings mean."""
    return [
        Patch(color=CORRECT, label="correct"),
        Patch(color=MISSED, label="missed pixels"),
        Patch(color=EXTRA, label="extra pixels"),
        _ring_example("o", ORANGE, "false component"),
        _ring_example("o", BLUE, "break (piece broken off)"),
        _ring_example("s", PURPLE, "piece missing or merged"),
    ]


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
