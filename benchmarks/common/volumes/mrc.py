"""MRC (.mrc, .rec), by mrcfile."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.common.errors import DataError
from benchmarks.common.volumes.volume import Volume, known_spacing, library

LABEL_MODES = {0: "int8", 1: "int16", 6: "uint16"}


def read(file: Path, labels: bool) -> Volume:
    """The array as it lies, [depth, height, width], and its voxel size in ångström."""
    mrcfile = library("mrcfile", file)
    with mrcfile.open(file, mode="r") as opened:
        header = opened.header
        order = tuple(int(header[name]) for name in ("mapc", "mapr", "maps"))
        if order != (1, 2, 3):
            raise DataError(
                f"{file}: its axes lie in the order {order} (mapc, mapr, maps), takes (1, 2, 3)"
            )
        if labels and int(header.mode) not in LABEL_MODES:
            modes = ", ".join(f"{mode} ({dtype})" for mode, dtype in LABEL_MODES.items())
            raise DataError(f"{file}: is of the mode {int(header.mode)}, takes labels of {modes}")
        array = np.array(opened.data)
        size = opened.voxel_size
        spacing = known_spacing((size.z, size.y, size.x))
    if array.ndim != 3:
        raise DataError(f"{file}: has the shape {array.shape}, takes three axes")
    return Volume(array, spacing, "Å" if spacing else None)
