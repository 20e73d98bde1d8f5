"""OME-Zarr, MRC and HDF5: the array, its spacing, and which array of several."""

from __future__ import annotations

from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import zarr

from benchmarks.common.volumes import read_volume, read_volume_labels
from tests.tools.volumes.files import (
    IMAGE,
    LABELS,
    LARGE,
    SPACING,
    Array,
    describe,
    mrc,
    ome_zarr,
    refused,
    same,
)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("path", ["s0", "0"])
def test_ome_zarr(version: str, path: str, tmp_path: Path) -> None:
    file = tmp_path / "case.ome.zarr"
    root = ome_zarr(file, [IMAGE, IMAGE[:, ::2, ::2]], version, path)
    same(file, IMAGE, SPACING)
    assert read_volume(file).unit == "µm"
    cells = root.create_group("labels").create_group("cells")
    describe(cells, [LARGE, LARGE[:, ::2, ::2]], version, path, "micrometer")
    labels = read_volume_labels(file)
    assert np.array_equal(labels.array, LARGE)
    assert labels.spacing == pytest.approx(SPACING)
    root["labels"].create_group("nuclei")
    refused(file, "holds the labels cells, nuclei; takes one", labels=True)


def test_ome_zarr_whose_scale_nobody_set(tmp_path: Path) -> None:
    file = tmp_path / "case.zarr"
    for unit, spacing in ((None, None), ("micrometer", (1.0, 1.0, 1.0))):
        root = ome_zarr(file, [IMAGE], "0.4", unit=unit)
        described = root.attrs["multiscales"]
        described[0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, 1, 1]
        del described[0]["coordinateTransformations"]
        root.attrs["multiscales"] = described
        same(file, IMAGE, spacing)


def test_plain_zarr(tmp_path: Path) -> None:
    file = tmp_path / "case.zarr"
    array = zarr.create_array(str(file), data=LABELS > 0)
    same(file, LABELS > 0, None)
    array.attrs["element_size_um"] = SPACING
    same(file, LABELS > 0, SPACING)


def test_arrays_of_a_zarr_group(tmp_path: Path) -> None:
    file = tmp_path / "case.zarr"
    group = zarr.open_group(str(file), mode="w")
    group.create_array("raw", data=IMAGE)
    group.create_array("labels", data=LABELS)  # an array, no group of OME-Zarr
    same(file, IMAGE, None)
    assert np.array_equal(read_volume_labels(file).array, LABELS)
    nested = zarr.open_group(str(tmp_path / "nested.zarr"), mode="w")
    nested.create_array("volumes/raw", data=IMAGE).attrs["element_size_um"] = SPACING
    nested.create_array("volumes/labels", data=LABELS)
    nested.create_array("volumes/notes", data=np.zeros(3))
    same(tmp_path / "nested.zarr", IMAGE, SPACING)
    assert np.array_equal(read_volume_labels(tmp_path / "nested.zarr").array, LABELS)
    zarr.open_group(str(tmp_path / "none.zarr"), mode="w")
    refused(tmp_path / "none.zarr", "holds no array")


def test_mrc(tmp_path: Path) -> None:
    same(mrc(tmp_path / "case.mrc", IMAGE), IMAGE, SPACING)
    assert read_volume(tmp_path / "case.mrc").unit == "Å"
    same(mrc(tmp_path / "unknown.rec", IMAGE, None), IMAGE, None)
    for dtype in (np.int8, np.int16, np.uint16):
        file = mrc(tmp_path / "labels.mrc", (LABELS.astype(int) - (dtype == np.int8)).astype(dtype))
        expected = LABELS.astype(int) - (dtype == np.int8)
        assert np.array_equal(read_volume_labels(file).array, expected)
    refused(mrc(tmp_path / "f.mrc", LABELS.astype(np.float32)), "of the mode 2", labels=True)
    with mrcfile.open(tmp_path / "case.mrc", mode="r+") as opened:
        opened.header.mapc, opened.header.maps = 3, 1
    refused(tmp_path / "case.mrc", r"in the order \(3, 2, 1\)")


def test_hdf5(tmp_path: Path) -> None:
    file = tmp_path / "case.h5"
    exact: list[Array] = [LABELS > 0, LABELS.astype(np.uint64) + np.uint64(2**63), LARGE]
    for labels in exact:
        with h5py.File(file, "w") as opened:
            opened.create_dataset("volumes/labels", data=labels, compression="gzip")
            opened["volumes/raw"] = IMAGE
            opened["volumes/raw"].attrs["element_size_um"] = SPACING
        assert np.array_equal(read_volume_labels(file).array, labels)
        assert read_volume_labels(file).spacing is None
        same(file, IMAGE, SPACING)
    with h5py.File(file, "w") as opened:
        opened["a"], opened["b"] = IMAGE, IMAGE
    refused(file, "holds a, b; takes one array")
