"""Containers of arrays: HDF5 (.h5, .hdf5), by h5py; OME-Zarr and plain Zarr (.zarr), by zarr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.errors import DataError
from benchmarks.common.volumes.volume import (
    Array,
    Spacing,
    Volume,
    chosen_array,
    known_spacing,
    library,
    squeezed,
)

SPACING_ATTRIBUTE = "element_size_um"  # depth, height, width in micrometres
UNITS = {"nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "angstrom": "Å"}


def read_hdf5(file: Path, labels: bool) -> Volume:
    """The file's only array, or the one with a usual name, as it was written."""
    h5py = library("h5py", file)
    with h5py.File(file, "r") as opened:
        names: list[str] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim >= 3:
                names.append(name)

        opened.visititems(visit)
        return _plain(opened[chosen_array(file, names, labels)])


def read_zarr(file: Path, labels: bool) -> Volume:
    """The finest level, whatever its name; of labels the group ``labels/NAME`` if there is one."""
    zarr = library("zarr", file)
    root = zarr.open(str(file), mode="r")
    if isinstance(root, zarr.Array):
        return _plain(root)
    if labels and "labels" in root.group_keys():
        names = list(root["labels"].group_keys())
        if len(names) != 1:
            raise DataError(
                f"{file}: holds the labels {', '.join(sorted(names)) or 'of nothing'}; takes one"
            )
        root = root["labels"][names[0]]
    attributes = dict(root.attrs)
    described = attributes.get("ome", attributes)  # version 0.5, or 0.4
    if "multiscales" not in described:
        return _plain(root[chosen_array(file, _volumes(root), labels)])
    scales = described["multiscales"][0]
    finest = scales["datasets"][0]
    # Lower levels of labels hold numbers that no object has: means of its neighbours'.
    array = np.asarray(root[finest["path"]])
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in scales["axes"]]
    return _arranged(file, array, axes, _scale(len(axes), finest, scales))


def _volumes(group: Any, before: str = "") -> list[str]:
    """The paths of all arrays of three axes or more in a group and those below it."""
    found = [before + name for name in group.array_keys() if group[name].ndim >= 3]
    for name in group.group_keys():
        found += _volumes(group[name], f"{before}{name}/")
    return found


def _plain(array: Any) -> Volume:
    """An array with what `element_size_um` says, if it is there."""
    size = array.attrs.get(SPACING_ATTRIBUTE)
    spacing = None if size is None else known_spacing(size)
    return Volume(np.asarray(array), spacing, "µm" if spacing else None)


def _scale(axes: int, *described: Mapping[str, Any]) -> list[float]:
    """The product of the scales of the data set and of the whole, one per axis."""
    product = np.ones(axes)
    found = False
    for description in described:
        for transformation in description.get("coordinateTransformations") or ():
            if transformation.get("type") == "scale":
                product = product * np.asarray(transformation["scale"], np.float64)
                found = True
    return product.tolist() if found else [float("nan")] * axes


def _arranged(
    file: Path, array: Array, axes: Sequence[Mapping[str, Any]], scale: list[float]
) -> Volume:
    letters = "".join(str(axis["name"])[0].lower() for axis in axes)
    named = ", ".join(str(axis["name"]) for axis in axes)
    of_axis = dict(zip(letters, scale, strict=True))
    units = {str(axis.get("unit")) for axis in axes if str(axis["name"])[0].lower() in "zyx"}
    shape = array.shape
    array, left = squeezed(array, letters, "zyx")
    if sorted(left) == sorted("czyx"):
        array = np.moveaxis(array, left.index("c"), 0)
        left = left.replace("c", "")
    if left != "zyx":
        raise DataError(
            f"{file}: has the shape {shape} and the axes {named}; takes z, y, x (channels may "
            "stand before them)"
        )
    spacing: Spacing | None = known_spacing(of_axis[axis] for axis in "zyx")
    if spacing == (1.0, 1.0, 1.0) and units == {"None"}:
        spacing = None  # what programs write that know of no voxel size
    unit = units.pop() if len(units) == 1 else "None"
    return Volume(array, spacing, UNITS.get(unit, None if unit == "None" else unit))
