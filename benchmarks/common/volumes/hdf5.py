"""HDF5 (.h5, .hdf5), by h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.volumes.volume import Volume, chosen_array, known_spacing, library

SPACING_ATTRIBUTE = "element_size_um"  # depth, height, width in micrometres


def read(file: Path, labels: bool) -> Volume:
    """The file's only array, or the one with a usual name, as it was written."""
    h5py = library("h5py", file)
    with h5py.File(file, "r") as opened:
        names: list[str] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim >= 3:
                names.append(name)

        opened.visititems(visit)
        dataset = opened[chosen_array(file, names, labels)]
        spacing = attribute_spacing(dataset.attrs)
        return Volume(np.asarray(dataset[()]), spacing, "µm" if spacing else None)


def attribute_spacing(attributes: Any) -> tuple[float, float, float] | None:
    """What `element_size_um` says, if it is there."""
    size = attributes.get(SPACING_ATTRIBUTE)
    return None if size is None else known_spacing(size)
