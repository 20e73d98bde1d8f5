"""NRRD (.nrrd, .nhdr), by pynrrd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.errors import DataError
from benchmarks.common.volumes.volume import Volume, known_spacing, library


def read(file: Path, labels: bool) -> Volume:
    """The array [depth, height, width] and its spacing, whose order the header has reversed."""
    del labels  # nothing in the format tells them apart
    nrrd = library("nrrd", file)
    array, header = nrrd.read(str(file), index_order="C")
    lengths = _lengths(header, array.ndim)[::-1]
    spatial = [place for place, length in enumerate(lengths) if length is not None]
    if array.ndim != 3:
        others = [place for place in range(array.ndim) if place not in spatial]
        if len(spatial) != 3 or any(array.shape[place] != 1 for place in others):
            kinds = header.get("kinds", [])
            raise DataError(
                f"{file}: has the shape {array.shape} and the kinds {', '.join(kinds) or 'unknown'}"
                "; takes three axes of space"
            )
        array = array.reshape([array.shape[place] for place in spatial])
        lengths = [lengths[place] for place in spatial]
    elif len(spatial) != 3:
        raise DataError(f"{file}: not all of its axes lie in space; takes three that do")
    units = header.get("space units") or header.get("units") or []
    unit = str(units[0]) if len({str(unit) for unit in units}) == 1 else None
    return Volume(array, known_spacing(lengths), unit)


def _lengths(header: dict[str, Any], axes: int) -> list[float | None]:
    """Of every axis, the fastest first: nan where unknown, None where it is not one of space."""
    directions = header.get("space directions")
    if directions is not None:
        rows = [np.atleast_1d(np.asarray(row, np.float64)) for row in directions]
        return [None if np.isnan(row).any() else float(np.linalg.norm(row)) for row in rows]
    outside = (
        "time", "vector", "list", "color", "matrix", "point", "scalar", "complex", "quaternion"
    )  # fmt: skip
    kinds = [str(kind).lower() for kind in header.get("kinds", [])] or ["domain"] * axes
    spacings = header.get("spacings")
    lengths = [float("nan")] * axes if spacings is None else [float(s) for s in spacings]
    return [
        None if any(word in kind for word in outside) else length
        for kind, length in zip(kinds, lengths, strict=True)
    ]
