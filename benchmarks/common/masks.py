"""Read what a mask file means: which pixels are foreground, or which label each one has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.common.errors import DataError
from benchmarks.common.image_files import Pixels, StoredImage, entries, read_stored
from benchmarks.common.levels import EXACT, foreground, share_in_between
from benchmarks.common.mask_numbers import (
    MOST,
    Numbers,
    few_numbers,
    labels_of_greys,
    levels_listed,
)

BoolMask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

MOST_CLASSES = 256  # labels are kept in 8 bits
MOSTLY_FLAT = 0.3  # share of pixels among equal ones, below which a label map is noise of its own


@dataclass(frozen=True)
class Truth:
    """What a mask means, and what it was made of."""

    labels: Labels  # [*spatial], 0 where background
    numbers: Numbers  # the nonzero ones that the file holds; none where they are many, or shades


def read_truth(file: Path, classes: int) -> Truth:
    """The labels of a mask: 1 for its foreground, or from 0 to ``classes - 1`` where more than 2.

    Raises DataError.
    """
    if classes == 2:
        values, lossy = _mask_values(file)
        return _foreground_truth(file, values, lossy)
    return label_truth(file, _label_values(file, classes), classes)


def truth_of(file: Path, numbers: Pixels, classes: int) -> Truth:
    """As read_truth, of an array [*spatial] out of the ``file``. Raises DataError."""
    if classes == 2:
        return _foreground_truth(file, numbers[..., np.newaxis])
    return label_truth(file, numbers, classes)


def _foreground_truth(file: Path, values: Pixels, lossy: bool = False) -> Truth:
    mask = foreground(file, values, lossy)
    grey = values[..., 0]
    # Where half-way was the threshold, the numbers are shades.
    plain = values.dtype != np.bool_ and np.array_equal(mask, grey != 0)
    is_grey = values.shape[-1] == 1 or bool((values == values[..., :1]).all())
    return Truth(mask.astype(np.uint8), few_numbers(grey) if plain and is_grey else ())


def read_mask(file: Path) -> BoolMask:
    """True wherever the mask's number is not zero, [height, width]. Raises DataError.

    What the file stores counts, not how it is shown: the index of a palette, the number itself
    where "white is zero". What is transparent is background. In a mask with shades between two
    levels, as lossy compression and smooth resizing leave them, what is past half-way is
    foreground.
    """
    return foreground(file, *_mask_values(file))


def _mask_values(file: Path) -> tuple[Pixels, bool]:
    """Of a mask file [height, width, bands], 0 where transparent; and whether surely lossy."""
    stored = read_stored(file)
    values = _checked(file, stored)
    if stored.palette is not None:
        values = _palette_values(file, stored, stored.palette)
    visible = _visible(stored)
    if visible is None or visible.all():
        return values, stored.surely_lossy
    if not visible.any():
        if (values != values[0, 0]).any():
            raise DataError(
                f"{file}: is transparent everywhere, though it holds several values; takes a "
                "mask without an alpha channel"
            )
        return visible[:, :, np.newaxis], stored.surely_lossy
    shown = np.where(visible[:, :, np.newaxis], values, values.dtype.type(0))
    if not shown.any():
        raise DataError(
            f"{file}: is black or transparent everywhere: whether the black is foreground, "
            "nothing tells; takes another colour for it, or a mask without an alpha channel"
        )
    return shown, stored.surely_lossy


def read_labels(file: Path, classes: int) -> Labels:
    """The mask's values as labels from 0 to ``classes - 1``, [height, width]. Raises DataError.

    Of a palette, the indices. What is transparent has the label 0. Grey levels that are evenly
    spread from 0 to 255, one per class, are labels too: 0, 127 (or 128) and 255 for three.
    """
    return label_truth(file, _label_values(file, classes), classes).labels


def _label_values(file: Path, classes: int) -> Pixels:
    stored = read_stored(file)
    if stored.lossy_codec is not None:
        article = "an" if stored.lossy_codec.startswith("A") else "a"
        raise DataError(
            f"{file}: is {article} {stored.lossy_codec}, which changes labels near borders; "
            "takes PNG or TIFF"
        )
    values = _checked(file, stored)
    if stored.palette is not None:
        _check_label_palette(file, stored, stored.palette, classes)
    visible = _visible(stored)
    if visible is not None:
        values = np.where(visible[:, :, np.newaxis], values, values.dtype.type(0))
    if values.shape[2] > 1 and (values == values[:, :, :1]).all():
        values = values[:, :, :1]
    if values.shape[2] != 1:
        raise DataError(
            f"{file}: is in colour ({values.shape[2]} bands); takes one label per pixel"
        )
    plane: Pixels = values[:, :, 0]
    return plane


def label_truth(file: Path, numbers: Pixels, classes: int) -> Truth:
    """Whole numbers from 0 to ``classes - 1``, or grey levels, as labels. Raises DataError."""
    if classes > MOST_CLASSES:
        raise DataError(f"{file}: {classes} classes, takes up to {MOST_CLASSES}")
    if numbers.dtype.kind == "f" and (numbers % 1).any():
        raise DataError(f"{file}: holds fractions; takes one whole number per pixel as its label")
    found = few_numbers(numbers)
    greys = labels_of_greys(found, classes) if found and max(found) >= classes else None
    if greys is not None:
        labels = np.zeros(numbers.shape, np.uint8)
        for grey, label in greys.items():
            labels[numbers == grey] = label
        return Truth(_drawn(file, labels), found)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= classes):
        least = f"from {numbers.min():g} " if numbers.min() < 0 else ""
        raise DataError(
            f"{file}: labels {least}up to {numbers.max():g}, takes labels from 0 to {classes - 1}"
            + (f" or the {levels_listed(classes)}" if 3 <= classes <= MOST + 1 else "")
            + f" (--classes {classes})"
            + (f"; holds {', '.join(map(str, (0, *found)))}" if found else "")
        )
    return Truth(_drawn(file, numbers.astype(np.uint8)), found)


def _drawn(file: Path, labels: Labels) -> Labels:
    """The labels, unless a codec or a resizing made some of them. Raises DataError."""
    if share_in_between(labels) > EXACT and _share_flat(labels) > MOSTLY_FLAT:
        raise DataError(
            f"{file}: holds labels between those of the regions around them, as lossy "
            "compression and smooth resizing leave them; takes the labels as they were drawn"
        )
    return labels


def _checked(file: Path, stored: StoredImage) -> Pixels:
    values = stored.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{file}: holds values that are not finite; takes 0 where nothing is")
    if values.shape[2] not in (1, 3) or stored.alpha_is_a_band:
        bands = values.shape[2] + stored.alpha_is_a_band
        raise DataError(f"{file}: has {bands} bands, takes a mask of one (or of three: colours)")
    return values


def _visible(stored: StoredImage) -> BoolMask | None:
    """Where a mask is not transparent; None where all of it is equally so."""
    alpha = stored.alpha
    if stored.palette is not None:
        alpha = entries(stored.palette, stored.values[:, :, 0])[:, :, 3]
    if alpha is None or (alpha == alpha.flat[0]).all():
        return None if alpha is None or alpha.flat[0] else np.zeros(alpha.shape, np.bool_)
    return np.asarray(alpha > alpha.max() / 2, np.bool_)


def _palette_values(file: Path, stored: StoredImage, palette: npt.NDArray[np.uint8]) -> Pixels:
    """The indices; of a palette of greys the greys. Raises DataError where they disagree."""
    used = np.unique(stored.values)
    colours = entries(palette, used)
    looks_like_background = ~colours[:, :3].any(axis=1) | (colours[:, 3] == 0)
    if (looks_like_background != (used == 0)).any():
        raise DataError(
            f"{file}: its palette and its numbers disagree on what is background (black or "
            "transparent, and 0); takes a palette whose first colour alone is black, or no palette"
        )
    grey = (colours[:, :3] == colours[:, :1]).all()
    return stored.bands[:, :, :1] if grey else stored.values


def _check_label_palette(
    file: Path, stored: StoredImage, palette: npt.NDArray[np.uint8], classes: int
) -> None:
    used = np.unique(stored.values)
    colours = entries(palette, used)
    hidden = ~colours[:, :3].any(axis=1) | (colours[:, 3] == 0)
    grey = colours[:, 0].astype(np.int64)
    greys_are_labels = (colours[:, :3] == colours[:, :1]).all() and (grey < classes).all()
    other_background = hidden[used != 0].any() and not hidden[used == 0].any()
    if other_background or (greys_are_labels and (grey != used).any()):
        raise DataError(
            f"{file}: its palette and its numbers name different labels; takes a palette whose "
            "first colour is the background's, or no palette"
        )


def _share_flat(labels: npt.NDArray[np.uint8]) -> float:
    """Share of pixels that equal the next ones right and below."""
    here = labels[..., :-1, :-1]
    same = (here == labels[..., 1:, :-1]) & (here == labels[..., :-1, 1:])
    return float(same.mean()) if same.size else 0.0
