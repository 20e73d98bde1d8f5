"""Which values of a mask are foreground: every nonzero one, or those past half-way.

A mask that went through a lossy codec, or was resized smoothly, holds small numbers beside every
border: "nonzero" makes its structures thicker and adds pieces. Such a mask has two peaks, dark and
bright, and half-way between them lies the border. Label maps and masks of few values are exact:
their values come in regions, and no pixel lies in between by its value and by its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from benchmarks.common.errors import DataError

Values = npt.NDArray[Any]

SMALL_LABELS = 32  # whole numbers below it are labels: no codec's shades of 0 to 255
MOST_PIXELS = 1 << 19  # that are looked at; more say nothing new
# Mean over the levels of the share of their pixels that lie in between. Label maps have up to 0.06
# of it (of touching single pixels), masks that went through JPEG, WebP or a resizing 0.27 or more.
EXACT = 0.15
# Relative to the distance between the two peaks.
DARKEST_PEAK = 0.2  # a background brighter than this is none
STEADY = 0.12  # how much a steady neighbourhood may vary
NEAR_DARK, NEAR_BRIGHT = 0.15, 0.75  # what lies between belongs to neither peak
# Ridges (the middle of lines) that half-way would lose; lower ones are the ripples beside borders.
RIDGES = 0.3, 0.6
PLATEAU = 0.02  # share of the bright pixels that must be steady to tell their level
SPREAD = 0.18  # of the steady bright pixels: more is several bright levels
# Shares of the bright pixels that may be in between, and of the ridges that may be faint.
STEADY_BETWEEN, FAINT_RIDGES = 0.01, 0.15
# Pieces above the first share of the distance have a pixel above the second; or they lie beside
# borders and have up to 4 pixels (10 in a JPEG of quality 10). A larger one without is an object of
# another level, which half-way would lose or shrink.
FAINT_PIECE, BRIGHT_PIECE, LEAST_PIECE = 0.2, 0.75, 12  # the last in pixels
BLOCKS = ((0, 1, 3), (1, 2, 5), (3, 6, 7), (5, 7, 8))  # of 2 x 2, beside the middle of 3 x 3


def foreground(file: Path, values: Values, lossy: bool = False) -> npt.NDArray[np.bool_]:
    """True where a mask's values mean foreground.

    Args:
        file: Named in errors.
        values: [*spatial, bands], finite.
        lossy: Whether they surely went through a lossy codec.

    Raises:
        DataError: Where values lie between background and foreground and have more than two
            peaks, so that no threshold is right.
    """
    nonzero: npt.NDArray[np.bool_] = (values != 0).any(axis=-1)
    if values.dtype == np.bool_ or not nonzero.any():
        return nonzero
    if values.dtype.kind in "ui" and int(values.max()) < SMALL_LABELS:
        if lossy:
            raise DataError(
                f"{file}: went through a lossy codec and holds numbers up to {values.max()} only, "
                "which are as dark as what such codecs leave beside borders; takes a mask whose "
                "foreground is brighter (255), or PNG or TIFF"
            )
        return nonzero
    brightest = values.max(axis=-1)
    if not _has_shades(brightest) or (not lossy and are_exact(values)):
        return nonzero
    past: npt.NDArray[np.bool_] = brightest > _half_way(file, brightest)
    return past


def are_exact(values: Values) -> bool:
    """Whether [*spatial, bands] are labels: values in regions, hardly a pixel in between."""
    grey = (values == values[..., :1]).all()
    bands = [0] if grey else range(values.shape[-1])
    return all(share_in_between(values[..., band]) <= EXACT for band in bands)


def share_in_between(plane: Values) -> float:
    """How much a mask looks shaded, 0 to 1: the mean over its values of their unsteady share.

    A pixel is unsteady if it lies in no block of 2 x 2 equal ones, and has both a smaller and a
    larger neighbour, or three or more other values around it. The smallest and largest values
    are not counted.
    """
    shades = (plane > min(0, plane.min())) & (plane < plane.max())
    found = _some(np.flatnonzero(shades))
    if not len(found):
        return 0.0
    around = neighbourhoods(plane, found)
    middle = around[:, 4]
    equal = around == middle[:, np.newaxis]
    in_a_block = np.any([equal[:, block].all(axis=1) for block in BLOCKS], axis=0)
    between = (around.min(axis=1) < middle) & (middle < around.max(axis=1))
    different = 1 + np.count_nonzero(np.diff(np.sort(around, axis=1), axis=1), axis=1)
    unsteady = ~in_a_block & (between | (different >= 4))
    _, level = np.unique(middle, return_inverse=True)
    return float(np.mean(np.bincount(level, unsteady) / np.bincount(level)))


def neighbourhoods(plane: Values, places: npt.NDArray[np.intp]) -> Values:
    """The 3 x 3 pixels around each place (a flat index), [places, 9]; the border is repeated.

    ``plane`` is [*spatial]; of volumes the neighbours within the slice.
    """
    border = [(0, 0)] * (plane.ndim - 2) + [(1, 1), (1, 1)]
    windows = sliding_window_view(np.pad(plane, border, mode="edge"), (3, 3), axis=(-2, -1))
    around: Values = windows[np.unravel_index(places, plane.shape)]
    return around.reshape(-1, 9)


def _has_shades(brightest: Values) -> bool:
    return bool(((brightest != 0) & (brightest != brightest.max())).any())


def _half_way(file: Path, brightest: Values) -> float:
    """The threshold of a mask with two peaks. Raises DataError where it has others."""
    largest = float(brightest.max())
    darker = brightest[brightest <= largest / 2]
    dark = float(np.median(darker)) if darker.size else 0.0
    places = _some(np.flatnonzero(brightest > dark))
    around = neighbourhoods(brightest, places).astype(np.float64)
    middle = around[:, 4]
    steady = np.ptp(around, axis=1) <= STEADY * largest
    is_bright = middle > largest / 2
    plateau = middle[is_bright & steady]
    has_plateau = len(plateau) > PLATEAU * is_bright.sum()
    bright = float(np.median(plateau if has_plateau else middle[is_bright]))
    span = bright - dark
    between = (middle > dark + NEAR_DARK * span) & (middle < dark + NEAR_BRIGHT * span)
    ridge = (middle >= 0.95 * around.max(axis=1)) & (middle > dark + RIDGES[0] * span)
    faint = ridge & (middle < dark + RIDGES[1] * span)
    several = has_plateau and float(np.ptp(np.percentile(plateau, (3, 97)))) > SPREAD * span
    if (
        brightest.min() < 0
        or dark > DARKEST_PEAK * bright
        or several
        or (between & steady).sum() > STEADY_BETWEEN * is_bright.sum()
        or faint.sum() > FAINT_RIDGES * ridge.sum()
        or _has_a_dim_piece(brightest, dark + FAINT_PIECE * span, dark + BRIGHT_PIECE * span)
    ):
        raise DataError(
            f"{file}: holds shades between background and foreground, as lossy compression or "
            "smooth resizing leaves them, and more than two levels: no threshold is right; takes "
            "a mask of the numbers as they were labelled, in PNG or TIFF"
        )
    return dark + span / 2


def _has_a_dim_piece(brightest: Values, low: float, high: float) -> bool:
    """Whether a connected piece above ``low`` has no pixel above ``high``, and is no speck."""
    pieces, count = ndimage.label(brightest > low, np.ones((3,) * brightest.ndim))
    sizes = np.bincount(pieces[pieces > 0], minlength=count + 1)
    bright = np.zeros(count + 1, np.bool_)
    bright[pieces[brightest > high]] = True
    return bool((sizes[~bright] >= LEAST_PIECE).any())


def _some(places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Up to MOST_PIXELS of them, evenly spread."""
    return places[:: max(1, len(places) // MOST_PIXELS)]
