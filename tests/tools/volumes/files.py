"""A volume, its labels and its spacing, and files of them, as the tests of formats share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import nibabel
import nrrd
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
import tifffile
import zarr

from benchmarks.common.images import DataError
from benchmarks.common.volumes import read_volume, read_volume_labels

Array = npt.NDArray[Any]

SHAPE = (5, 7, 9)  # depth, height, width
IMAGE = np.random.default_rng(0).integers(-300, 3000, SHAPE).astype(np.int16)
LABELS = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
LARGE = np.where(LABELS > 0, 2**24 + LABELS.astype(np.int64), 0)  # which merge as 32-bit floats
SPACING = (5.0, 0.5, 0.25)


def same(file: Path, array: Array, spacing: tuple[float, ...] | None) -> None:
    """Whether a file reads as this array with this spacing."""
    volume = read_volume(file)
    assert np.array_equal(volume.array, array)
    assert (volume.spacing is None) == (spacing is None)
    if spacing is not None:
        assert volume.spacing == pytest.approx(spacing)


def refused(file: Path, reason: str, labels: bool = False) -> None:
    """Fails unless reading the file is refused for this reason, in one line that begins with it."""
    with pytest.raises(DataError, match=reason) as error:
        (read_volume_labels if labels else read_volume)(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def nifti(
    file: Path, array: Array, affine: Array | None = None, sizes: tuple[float, ...] = SPACING
) -> Path:
    """[depth, height, width] as nibabel writes it."""
    xyz = array.transpose(*range(array.ndim)[::-1])
    matrix = np.diag((*sizes[::-1], 1)) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(xyz, matrix), file)
    return file


def ome_zarr(
    file: Path, levels: list[Array], version: str, path: str = "s0", unit: str | None = "micrometer"
) -> Any:
    """A pyramid whose spacing is told half by the level and half by the whole."""
    root = zarr.open_group(str(file), mode="w", zarr_format=3 if version == "0.5" else 2)
    return describe(root, levels, version, path, unit)


def describe(group: Any, levels: list[Array], version: str, path: str, unit: str | None) -> Any:
    """The arrays and the words of a pyramid in a Zarr group."""
    paths = [path, *(f"{path}_{number}" for number in range(1, len(levels)))]
    for name, level in zip(paths, levels, strict=True):
        group.create_array(name, data=level)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    if unit:
        axes = [{**axis, "unit": unit} for axis in axes]
    described = {
        "axes": axes,
        "datasets": [
            {
                "path": name,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.0 * 2**k, 0.5 * 2**k, 0.5 * 2**k]},
                    {"type": "translation", "translation": [1, 2, 3]},
                ],
            }
            for k, name in enumerate(paths)
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [2.5, 1, 0.5]}],
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": version, "multiscales": [described]}
    else:
        group.attrs["multiscales"] = [{**described, "version": version}]
    return group


def mrc(file: Path, array: Array, size: tuple[float, ...] | None = SPACING) -> Path:
    """A volume as mrcfile writes it."""
    with mrcfile.new(file, overwrite=True) as opened:
        opened.set_data(array)
        opened.set_volume()
        if size is not None:
            opened.voxel_size = size[::-1]
    return file


def metaimage(file: Path, spacing_line: str) -> Path:
    """IMAGE with a header of one's own for its spacing."""
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"DimSize = {' '.join(map(str, SHAPE[::-1]))}\n{spacing_line}"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    file.write_bytes(header.encode() + IMAGE.astype("<i2").tobytes())
    return file


def resolution(height: float, width: float) -> tuple[float, float]:
    """As TIFF counts it: pixels for each unit, across and down."""
    return 1 / width, 1 / height


def _spaced(picture: Any) -> Any:
    picture.SetSpacing(SPACING[::-1])
    return picture


def _hdf5(file: Path, array: Array) -> None:
    with h5py.File(file, "w") as opened:
        opened["main"] = array
        opened["main"].attrs["element_size_um"] = SPACING


WRITERS: dict[str, Callable[[Path, Array], object]] = {
    "nii.gz": nifti,
    "mha": lambda file, array: SimpleITK.WriteImage(
        _spaced(SimpleITK.GetImageFromArray(array)), str(file)
    ),
    "nrrd": lambda file, array: nrrd.write(
        str(file), array.transpose(2, 1, 0), {"spacings": list(SPACING[::-1])}
    ),
    "tif": lambda file, array: tifffile.imwrite(
        file,
        array.astype(np.float32 if array.dtype.kind == "f" else np.uint8),
        imagej=True,
        metadata={"axes": "ZYX", "spacing": SPACING[0]},
        resolution=resolution(*SPACING[1:]),
    ),
    "mrc": lambda file, array: mrc(
        file, array.astype(np.float32 if array.dtype.kind == "f" else np.int8)
    ),
    "h5": lambda file, array: _hdf5(file, array),
    "zarr": lambda file, array: ome_zarr(file, [array], "0.4"),
}


def write_bars(root: Path, kind: str, shape: tuple[int, ...] = (10, 48, 48)) -> Path:
    """Two plates 6 pixels wide, one slice thick, in every split."""
    for number, split in enumerate(("train", "val", "test")):
        mask = np.zeros(shape, np.uint8)
        for depth in (2, 7):
            mask[depth, 10 + number : 16 + number] = 1
        noise = np.random.default_rng(number).normal(0, 0.2, shape)
        for folder, array in (("images", (mask + noise).astype(np.float32)), ("masks", mask)):
            (root / split / folder).mkdir(parents=True)
            WRITERS[kind](root / split / folder / f"case.{kind}", array)
    return root
