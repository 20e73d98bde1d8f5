"""A volume as its file stores it, and what all readers share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common.errors import DataError
from benchmarks.common.image_files import optional_module as _optional_module

Array = npt.NDArray[Any]
Spacing = tuple[float, float, float]  # between voxels: depth, height, width


@dataclass(frozen=True)
class Volume:
    """Voxels, how far apart they are (None where nobody says), and in what unit."""

    array: Array  # [depth, height, width], of images perhaps with channels in front
    spacing: Spacing | None
    unit: str | None = None


def library(name: str, file: Path) -> Any:
    """An optional library. Raises DataError that names the extra to install."""
    return _optional_module(name, str(file), "volumes")


def known_spacing(lengths: Iterable[object]) -> Spacing | None:
    """Three lengths above 0, or None where one is missing, 0 or not finite."""
    try:
        depth, height, width = (float(length) for length in lengths)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    spacing = (depth, height, width)
    return spacing if all(np.isfinite(side) and side > 0 for side in spacing) else None


def whole_numbers(file: Path, labels: Array) -> Array:
    """Labels as whole numbers; floats must hold nothing else. Raises DataError."""
    if labels.dtype.kind != "f":
        return labels
    if not np.isfinite(labels).all():
        raise DataError(f"{file}: holds values that are not finite; takes 0 where nothing is")
    if (labels % 1).any():
        raise DataError(
            f"{file}: holds fractions, as smooth resampling leaves them; takes one whole number "
            "per voxel as its label"
        )
    return labels.astype(np.int64)


def squeezed(array: Array, axes: str, keep: str) -> tuple[Array, str]:
    """Without axes of length 1, except those to keep; ``axes`` names every axis by a letter."""
    kept = [place for place, name in enumerate(axes) if name in keep or array.shape[place] > 1]
    shape = [array.shape[place] for place in kept]
    return array.reshape(shape), "".join(axes[place] for place in kept)


def chosen_array(file: Path, names: list[str], labels: bool) -> str:
    """Which of a container's arrays to take. Raises DataError where that is not clear."""
    usual = ("mask", "label", "labels", "seg") if labels else ("image", "raw", "volume", "data")
    found = names if len(names) == 1 else [n for n in names if n.split("/")[-1] in usual]
    if len(found) != 1:
        raise DataError(
            f"{file}: holds {', '.join(sorted(names)) or 'no array'}; takes one array, or one of "
            f"the name {' or '.join(usual)}"
        )
    return found[0]
