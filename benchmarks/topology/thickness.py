"""`thickness`: how thick the structures in the masks are, and which window suits them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common.errors import DataError, UsageError
from benchmarks.common.tables import by, markdown_of, write_table
from benchmarks.common.volumes import Spacing
from benchmarks.topology.datasets import (
    Labels,
    Sample,
    median_spacing,
    read_split,
    shares_of_splits,
)
from benchmarks.topology.measures import Mask
from benchmarks.topology.options import check_classes, lengths, positive, split
from benchmarks.topology.structures import count_holes, structure_thickness
from benchmarks.topology.windows import (
    SMALLEST_WINDOW,
    THIN,
    as_text,
    is_thin,
    suggested_windows,
    unit_of,
    window_per_axis,
)

MANY = 0.5  # narrow holes per image from which on they are worth a word


@dataclass(frozen=True)
class ClassThickness:
    """What the masks of one class measure, in pixels (of voxels, in their smallest sides)."""

    label: int
    of_images: tuple[float, ...]  # the median of every image that has the class
    holes: float = float("nan")  # per image; of the background, and in volumes, not counted
    narrow_holes: float = float("nan")  # of these, so many have no room for the smallest window

    @property
    def mean(self) -> float:
        """Over the images that have the class; nan where none has."""
        return float(np.mean(self.of_images)) if self.of_images else float("nan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `thickness`."""
    add = parser.add_argument
    add("data", type=Path, metavar="DIR", help="the data set's folder, as for `run`")
    add("--split", type=split, default="train", help="whose masks to measure (train)")
    add("--classes", type=positive, default=2, metavar="C", help="with background (2)")
    add("--mask-key", metavar="NAME", help="of the mask's array in the npz files")
    add(
        "--spacing",
        type=lengths,
        metavar="DxHxW",
        help="of voxels, if their files do not tell: 5x1x1, or 1x1x1 for cubes",
    )
    add("--to", type=Path, metavar="DIR", help="write thickness(-SPLIT).md and .csv too")


def run(options: argparse.Namespace) -> None:
    """Print a row per class, and the window to start with."""
    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; thickness takes a data set's folder")
    check_classes(options.classes)
    samples = read_split(
        options.data, options.split, classes=options.classes, mask_key=options.mask_key
    )
    truths = [sample.truth for sample in samples]
    shares = shares_of_splits(
        options.data, {options.split: samples}, [options.split], options.classes
    )
    spacings = _spacings(options, samples)
    print(*shares, sep="\n", end="\n\n")
    measured = class_thickness(truths, options.classes, spacings)
    spacing = median_spacing(spacings)
    advice = advise(measured, spacing)
    rows = [_row(of_class, spacing) for of_class in measured]
    before = (
        f"{options.data.resolve().name}, {options.split}: thickness in {unit_of(spacing)}, the "
        "median of each image, averaged over the images."
    )
    if spacing is None:
        before += (
            " Holes: of an image, on average; narrow ones have no room for "
            f"{SMALLEST_WINDOW} x {SMALLEST_WINDOW} pixels."
        )
    if spacing is not None:
        units = {sample.unit for sample in samples} if options.spacing is None else {None}
        unit = units.pop() if len(units) == 1 else None
        voxels = by(spacing, " x ") + (f" {unit}" if unit else "")
        before += f" Voxels of {voxels} (depth, height, width)."
    print("\n\n".join((before, markdown_of(rows), advice)))
    if options.to:
        name = "thickness" if options.split == "train" else f"thickness-{options.split}"
        write_table(options.to, name, rows, before=before, after=advice)


def _spacings(options: argparse.Namespace, samples: Sequence[Sample]) -> list[Spacing | None]:
    """Of every volume; None for images. Raises UsageError where nobody says it."""
    if samples[0].truth.ndim == 2:
        if options.spacing is not None:
            raise UsageError("--spacing: the data are images, not volumes")
        return [None] * len(samples)
    if options.spacing is not None:
        return [options.spacing] * len(samples)
    unknown = [sample.name for sample in samples if sample.spacing is None]
    if unknown:
        raise UsageError(
            f"{options.data}: nothing says how far the voxels of {unknown[0]} are apart (npz files "
            "do in an array `spacing`); give --spacing DEPTHxHEIGHTxWIDTH: 5x1x1 where slices are "
            "five times as far apart as pixels, 1x1x1 for cubes"
        )
    return [sample.spacing for sample in samples]


def class_thickness(
    label_maps: Sequence[Labels], classes: int, spacings: Sequence[Spacing | None]
) -> list[ClassThickness]:
    """The thickness of every class, background included, over all label maps."""
    return [
        ClassThickness(
            label,
            tuple(
                structure_thickness(labels == label, spacing)
                for labels, spacing in zip(label_maps, spacings, strict=True)
                if (labels == label).any()
            ),
            *(_holes([labels == label for labels in label_maps]) if label > 0 else ()),
        )
        for label in range(classes)
    ]


def _holes(masks: Sequence[Mask]) -> tuple[float, float]:
    """Of an image on average, all and the narrow ones; nan in volumes."""
    if masks[0].ndim == 3:
        return float("nan"), float("nan")
    every, narrow = np.mean([count_holes(mask, SMALLEST_WINDOW) for mask in masks], axis=0)
    return float(every), float(narrow)


def advise(measured: list[ClassThickness], spacing: Sequence[float] | None = None) -> str:
    """Which window to start with, and why, in one or two sentences; per axis, if they differ."""
    thinnest = min(
        (of_class for of_class in measured if of_class.of_images),
        key=lambda of_class: of_class.mean,
    )
    windows = [as_text(window) for window in _windows(thinnest, spacing)]
    name = "background" if thinnest.label == 0 else f"class {thinnest.label}"
    text = f"Thinnest is the {name}, {thinnest.mean:.1f} {unit_of(spacing)}: "
    text += f"start with w = {windows[0]}"
    text += f", then try {windows[1]}." if len(windows) > 1 else "."
    if thinnest.mean < THIN:
        text += (
            " That thin, SCNP never made significantly fewer mistakes than the plain loss on "
            "images like those trained on, after post-processing, and of vessel trees and "
            "membranes it made more; alone it can learn nothing: post-process, and compare joint "
            "training with the plain loss."
        )
    for of_class in measured:
        if of_class.narrow_holes >= MANY:
            text += (
                f" Of the {of_class.holes:.1f} holes that the class {of_class.label} has in an "
                f"image, {of_class.narrow_holes:.1f} have no room for {SMALLEST_WINDOW} x "
                f"{SMALLEST_WINDOW} pixels. Such holes SCNP may close: compare the Betti-1 errors."
            )
    if not is_thin(thinnest.mean):
        text += " Nothing in the masks is thin, so that the thickness speaks for no wider window."
    return text


def _windows(of_class: ClassThickness, spacing: Sequence[float] | None) -> list[tuple[int, ...]]:
    sides = suggested_windows(of_class.mean)
    if spacing is None:
        return [(side,) for side in sides]
    return list(dict.fromkeys(window_per_axis(side, spacing) for side in sides))


def _row(of_class: ClassThickness, spacing: Sequence[float] | None) -> dict[str, object]:
    images = of_class.of_images
    windows = _windows(of_class, spacing) if is_thin(of_class.mean) else []
    row: dict[str, object] = {
        "class": "background" if of_class.label == 0 else of_class.label,
        "images": len(images),
        "thickness": f"{of_class.mean:.1f}" if images else "",
        "of single images": f"{min(images):.1f} to {max(images):.1f}" if images else "",
        "window": " or ".join(map(as_text, windows)),
    }
    if spacing is None:
        known = np.isfinite(of_class.holes)
        row["holes"] = f"{of_class.holes:.1f}" if known else ""
        row["narrow holes"] = f"{of_class.narrow_holes:.1f}" if known else ""
    return row
