"""Stacks of images in a TIFF file, as ImageJ, OME and nnU-Net write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from benchmarks.common.volumes import is_volume, read_volume, read_volume_labels
from tests.tools.volumes.files import IMAGE, LABELS, SHAPE, SPACING, refused, resolution, same


@pytest.mark.parametrize("axes", ["ZYX", "QYX", "IYX", "CYX", "TYX"])
def test_tiff_of_imagej_and_others(axes: str, tmp_path: Path) -> None:
    file = tmp_path / "case.tif"
    metadata: dict[str, Any] = {"axes": axes, "spacing": 5, "unit": "um"}
    if axes in ("ZYX", "CYX", "TYX"):
        tifffile.imwrite(
            file, IMAGE, imagej=True, metadata=metadata, resolution=resolution(0.5, 0.25)
        )
        same(file, IMAGE, SPACING)
        tifffile.imwrite(file, IMAGE, imagej=True, metadata=metadata)
        same(file, IMAGE, None)  # 1 pixel for each unit, and no unit: nobody said it
        tifffile.imwrite(
            file, IMAGE, imagej=True, metadata={"axes": axes}, resolution=resolution(0.5, 0.25)
        )
        same(file, IMAGE, None)  # within slices alone
    tifffile.imwrite(file, IMAGE, metadata={"axes": axes})
    same(file, IMAGE, None)
    tifffile.imwrite(file, LABELS, metadata={"axes": axes})
    assert np.array_equal(read_volume_labels(file).array, LABELS)


def test_tiff_of_imagej_without_axes_is_a_stack_too(tmp_path: Path) -> None:
    # Written so, the slices are channels for ImageJ.
    tifffile.imwrite(tmp_path / "case.tif", IMAGE, imagej=True)
    with tifffile.TiffFile(tmp_path / "case.tif") as tiff:
        assert tiff.series[0].axes == "CYX"
    same(tmp_path / "case.tif", IMAGE, None)
    assert is_volume(tmp_path / "case.tif")


def test_ome_tiff(tmp_path: Path) -> None:
    file = tmp_path / "case.ome.tif"
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeZ": 5,
        "PhysicalSizeY": 500,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeX": 0.25,
    }
    tifffile.imwrite(file, IMAGE, metadata=metadata)
    same(file, IMAGE, SPACING)
    assert read_volume(file).unit == "µm"
    tifffile.imwrite(file, IMAGE, metadata={"axes": "ZYX", "PhysicalSizeX": 0.25})
    same(file, IMAGE, None)
    two = np.stack((IMAGE, IMAGE + 1), axis=1)
    tifffile.imwrite(file, two, metadata={"axes": "ZCYX"})
    assert np.array_equal(read_volume(file).array, np.moveaxis(two, 1, 0))
    refused(file, "the axes ZCYX", labels=True)


def test_tiff_written_page_by_page_is_one_stack(tmp_path: Path) -> None:
    file = tmp_path / "case.tif"
    with tifffile.TiffWriter(file) as writer:
        for page in LABELS:
            writer.write(page, contiguous=False)
    assert tifffile.imread(file).shape == SHAPE[1:]  # the first page alone
    assert np.array_equal(read_volume_labels(file).array, LABELS)
    assert is_volume(file)
    with tifffile.TiffWriter(file) as writer:
        writer.write(LABELS[0], contiguous=False)
        writer.write(LABELS[0, :4], contiguous=False)
    refused(file, "several shapes")


def test_three_slices_written_as_colours_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "three.tif"
    tifffile.imwrite(file, LABELS[:3], photometric="rgb", planarconfig="separate")
    refused(file, "colours, where slices are expected.*minisblack", labels=True)
    refused(file, "colours, where slices are expected")
    tifffile.imwrite(file, LABELS[:3], photometric="minisblack")
    assert np.array_equal(read_volume_labels(file).array, LABELS[:3])


def test_tiff_of_nnunet(tmp_path: Path) -> None:
    for name, beside in (("case_0000", "case"), ("case", "case")):
        file = tmp_path / f"{name}.tif"
        metadata = {"axes": "ZYX", "spacing": 99}
        tifffile.imwrite(file, IMAGE, imagej=True, metadata=metadata, resolution=resolution(9, 9))
        same(file, IMAGE, (99, 9, 9))
        (tmp_path / f"{beside}.json").write_text(json.dumps({"spacing": SPACING}))
        same(file, IMAGE, SPACING)
        (tmp_path / f"{beside}.json").unlink()


def test_a_single_slice_is_no_stack(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", IMAGE[0])
    assert not is_volume(tmp_path / "one.tif")
    refused(tmp_path / "one.tif", "takes a stack of slices")
    tifffile.imwrite(tmp_path / "pyramid.tif", IMAGE[0])
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(IMAGE[0], subifds=1)
        writer.write(IMAGE[0, ::2, ::2], subfiletype=1)
    assert not is_volume(tmp_path / "pyramid.tif")
