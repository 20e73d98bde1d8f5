"""`thickness`: how thick the structures in the masks are, and which window suits them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter
from skimage.morphology import skeletonize

from benchmarks.common.images import DataError, check_foreground
from benchmarks.topology.datasets import Labels, read_split
from benchmarks.topology.measures import Mask
from benchmarks.topology.options import check_classes, positive
from benchmarks.topology.tables import markdown, write_table

SMALLEST_WINDOW = 3
# Wider than this the thickness says that nothing in the masks is thin, not which window is best.
LARGEST_WINDOW = 7
EXCESS = 0.5  # by which a structure measures more than it is wide, on average
NEAR = 1.75  # pixels between a width and a window that suits it


@dataclass(frozen=True)
class ClassThickness:
    """What the masks of one class measure, in pixels."""

    label: int
    of_images: tuple[float, ...]  # the median of every image that has the class

    @property
    def mean(self) -> float:
        """Over the images that have the class; nan where none has."""
        return float(np.mean(self.of_images)) if self.of_images else float("nan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `thickness`."""
    add = parser.add_argument
    add("data", type=Path, metavar="DIR", help="the data set's folder, as for `run`")
    add("--split", default="train", help="whose masks to measure (train)")
    add("--classes", type=positive, default=2, metavar="C", help="with background (2)")
    add("--mask-key", metavar="NAME", help="of the mask's array in the npz files")
    add("--to", type=Path, metavar="DIR", help="write thickness.md and .csv there too")


def run(options: argparse.Namespace) -> None:
    """Print a row per class, and the window to start with."""
    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; thickness takes a data set's folder")
    check_classes(options.classes)
    samples = read_split(
        options.data, options.split, classes=options.classes, mask_key=options.mask_key
    )
    truths = (sample.truth for sample in samples)
    print(check_foreground(options.data / options.split, truths, classes=options.classes))
    measured = class_thickness([sample.truth for sample in samples], options.classes)
    advice = advise(measured)
    header = ("class", "images", "thickness", "of single images", "window")
    rows = [_row(of_class) for of_class in measured]
    before = (
        f"{options.data.resolve().name}, {options.split}: thickness in pixels, the median of each "
        "image, averaged over the images."
    )
    print("\n\n".join((before, markdown(header, rows), advice)))
    if options.to:
        write_table(options.to, "thickness", header, rows, before=before, after=advice)


def class_thickness(label_maps: list[Labels], classes: int) -> list[ClassThickness]:
    """The thickness of every class, background included, over all label maps."""
    return [
        _of_class([labels == label for labels in label_maps], label) for label in range(classes)
    ]


def _of_class(masks: list[Mask], label: int) -> ClassThickness:
    return ClassThickness(label, tuple(structure_thickness(mask) for mask in masks if mask.any()))


def structure_thickness(mask: Mask) -> float:
    """The median, over a mask's skeleton, of twice the distance to the nearest pixel outside.

    In pixels, for a mask [*spatial]; nan for an empty one. A bar n pixels wide measures n where n
    is even, and n + 1 where it is odd. Structures are taken to go on beyond the image's border.

    Example:
        >>> bar = np.zeros((20, 40), np.bool_)
        >>> bar[8:13] = True
        >>> structure_thickness(bar)
        6.0
    """
    if mask.all():  # nothing to be at a distance from
        return float(min(mask.shape))
    if not mask.any():
        return float("nan")
    distance = distance_transform_edt(mask)
    skeleton = skeletonize(mask) != 0
    if not skeleton.any():  # what scikit-image makes of sheets in 3D: their middle does instead
        skeleton = mask & (distance == maximum_filter(distance, 3))
    return float(np.median(2 * distance[skeleton]))


def suggested_windows(thickness: float) -> tuple[int, ...]:
    """The windows to try for structures of this thickness in pixels, the first one first.

    The odd numbers next to it, between 3 and 7: 3, then 5 for 4.5 pixels; 3 alone for 3.4. The
    paper (Section 4.2, Table 1) relates the best window to how thick the structures are.

    Example:
        >>> [suggested_windows(pixels) for pixels in (1.0, 3.4, 4.5, 6.2, 40.0)]
        [(3,), (3,), (3, 5), (5, 7), (7,)]
    """
    width = thickness - EXCESS
    if width >= LARGEST_WINDOW:
        return (LARGEST_WINDOW,)
    odd = range(SMALLEST_WINDOW, LARGEST_WINDOW + 1, 2)
    near = tuple(window for window in odd if abs(window - width) < NEAR)
    return near or (SMALLEST_WINDOW,)


def suggested_window(thickness: float) -> int:
    """The first of the windows to try; 3 for a thickness of nan."""
    return SMALLEST_WINDOW if np.isnan(thickness) else suggested_windows(thickness)[0]


def advise(measured: list[ClassThickness]) -> str:
    """Which window to start with, and why, in one or two sentences."""
    thinnest = min(
        (of_class for of_class in measured if of_class.of_images),
        key=lambda of_class: of_class.mean,
    )
    windows = suggested_windows(thinnest.mean)
    name = "background" if thinnest.label == 0 else f"class {thinnest.label}"
    text = f"Thinnest is the {name}, {thinnest.mean:.1f} pixels: start with w = {windows[0]}"
    text += f", then try {windows[1]}." if len(windows) > 1 else "."
    if thinnest.mean > LARGEST_WINDOW + NEAR:
        text += " Nothing in the masks is thin, so that the thickness says little here."
    return text


def _row(of_class: ClassThickness) -> list[object]:
    name = "background" if of_class.label == 0 else of_class.label
    if not of_class.of_images:
        return [name, 0, "", "", ""]
    low, high = min(of_class.of_images), max(of_class.of_images)
    thin = of_class.mean <= LARGEST_WINDOW + NEAR
    windows = " or ".join(map(str, suggested_windows(of_class.mean))) if thin else ""
    images = len(of_class.of_images)
    return [name, images, f"{of_class.mean:.1f}", f"{low:.1f} to {high:.1f}", windows]
