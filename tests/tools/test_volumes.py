"""Volumes of medicine and microscopy: the array, its spacing or none, and exact labels.

The files are written by the formats' own libraries, as strangers write them.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
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
import torch
import zarr

from benchmarks.common.images import DataError
from benchmarks.common.volumes import identifier, is_volume, read_volume, read_volume_labels
from benchmarks.topology.__main__ import main as topology
from benchmarks.topology.configuration import DEFAULTS, Configuration
from benchmarks.topology.crops import Crops
from benchmarks.topology.datasets import common_spacing, read_split
from benchmarks.topology.records import configuration_of, finished_runs, spacing_of
from tests.topology_data import command, failing

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
    with pytest.raises(DataError, match=reason) as error:
        (read_volume_labels if labels else read_volume)(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


# --- NIfTI ------------------------------------------------------------------------------------


def nifti(
    file: Path, array: Array, affine: Array | None = None, sizes: tuple[float, ...] = SPACING
) -> Path:
    """[depth, height, width] as nibabel writes it."""
    xyz = array.transpose(*range(array.ndim)[::-1])
    matrix = np.diag((*sizes[::-1], 1)) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(xyz, matrix), file)
    return file


@pytest.mark.parametrize("extension", ["nii", "nii.gz"])
def test_nifti(extension: str, tmp_path: Path) -> None:
    same(nifti(tmp_path / f"case.{extension}", IMAGE), IMAGE, SPACING)
    labels = read_volume_labels(nifti(tmp_path / f"labels.{extension}", LABELS))
    assert np.array_equal(labels.array, LABELS)


def test_nifti_spacing_of_an_oblique_volume(tmp_path: Path) -> None:
    turn = np.deg2rad(30)
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(SPACING[::-1])
    same(nifti(tmp_path / "oblique.nii", IMAGE, affine), IMAGE, SPACING)
    permuted = np.eye(4)
    permuted[:3, :3] = np.diag(SPACING[::-1])[[2, 0, 1]] * -1  # axes in another order, backwards
    same(nifti(tmp_path / "permuted.nii", IMAGE, permuted), IMAGE, SPACING)


def test_nifti_whose_two_sizes_differ_is_told(tmp_path: Path) -> None:
    picture = nibabel.Nifti1Image(IMAGE.transpose(2, 1, 0), np.diag((1, 1, 1, 1)))
    picture.header["pixdim"][1:4] = SPACING[::-1]
    nibabel.save(picture, tmp_path / "two.nii")
    loaded: Any = nibabel.load(tmp_path / "two.nii")
    assert loaded.header.get_zooms() == SPACING[::-1]
    with pytest.warns(UserWarning, match=r"two\.nii: voxels of 0.25 x 0.5 x 5 by .* 1 x 1 x 1"):
        same(tmp_path / "two.nii", IMAGE, SPACING)


def test_nifti_units_are_told(tmp_path: Path) -> None:
    for unit, told in (("micron", "µm"), ("mm", "mm"), ("unknown", None)):
        picture = nibabel.Nifti1Image(IMAGE, np.eye(4))
        picture.header.set_xyzt_units(unit)
        nibabel.save(picture, tmp_path / "case.nii")
        assert read_volume(tmp_path / "case.nii").unit == told


def test_nifti_of_unknown_spacing(tmp_path: Path) -> None:
    content = bytearray(nibabel.Nifti1Image(IMAGE.transpose(2, 1, 0), None).to_bytes())
    content[80:92] = bytes(12)  # the voxel's sides
    (tmp_path / "case.nii").write_bytes(content)
    same(tmp_path / "case.nii", IMAGE, None)


def scaled_nifti(file: Path, stored: Array, slope: float, intercept: float = 0) -> Path:
    picture = nibabel.Nifti1Image(stored.transpose(2, 1, 0), np.eye(4))
    picture.header.set_data_dtype(stored.dtype)
    content = bytearray(picture.to_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    file.write_bytes(bytes(content))
    return file


def test_nifti_labels_saved_through_floats_keep_their_classes(tmp_path: Path) -> None:
    # As nibabel scales floats that are saved as integers: 0, 1, 2 become 0, 0.996, 2.
    picture = nibabel.Nifti1Image(LABELS.transpose(2, 1, 0), np.eye(4))
    again = nibabel.Nifti1Image(picture.get_fdata(), picture.affine, picture.header)
    nibabel.save(again, tmp_path / "again.nii.gz")
    loaded: Any = nibabel.load(tmp_path / "again.nii.gz")
    values = np.unique(loaded.get_fdata())
    assert 0.9 < values[1] < 1  # which a cast takes for 0
    assert np.array_equal(read_volume_labels(tmp_path / "again.nii.gz").array, LABELS)


def test_nifti_labels_of_any_scale(tmp_path: Path) -> None:
    file = tmp_path / "labels.nii"
    assert np.array_equal(read_volume_labels(scaled_nifti(file, LABELS, 2)).array, LABELS * 2)
    assert np.array_equal(read_volume_labels(scaled_nifti(file, LABELS, 0)).array, LABELS)
    assert np.array_equal(read_volume_labels(scaled_nifti(file, LABELS, 1, 5)).array, LABELS + 5)
    refused(scaled_nifti(file, LABELS, 1.5), "no whole numbers", labels=True)
    refused(scaled_nifti(file, LABELS, 0.3), "no whole numbers", labels=True)
    same(scaled_nifti(file, LABELS, 0.5, 1), LABELS * 0.5 + 1, (1, 1, 1))


def test_nifti_labels_beyond_32_bit_floats(tmp_path: Path) -> None:
    nibabel.save(
        nibabel.Nifti1Image(LARGE.transpose(2, 1, 0), np.eye(4), dtype=np.int64),
        tmp_path / "large.nii",
    )
    assert np.array_equal(read_volume_labels(tmp_path / "large.nii").array, LARGE)


def test_nifti_labels_that_were_resampled_smoothly_are_refused(tmp_path: Path) -> None:
    refused(nifti(tmp_path / "soft.nii", LABELS * np.float32(0.5)), "fractions", labels=True)


def test_nifti_of_four_axes(tmp_path: Path) -> None:
    xyzt = IMAGE.transpose(2, 1, 0)[..., None, None]
    nibabel.save(nibabel.Nifti1Image(xyzt, np.diag((*SPACING[::-1], 1))), tmp_path / "one.nii")
    same(tmp_path / "one.nii", IMAGE, SPACING)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2)), np.eye(4)), tmp_path / "two.nii")
    refused(tmp_path / "two.nii", r"has the shape \(4, 5, 6, 2\)")


# --- MetaImage --------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["mha", "mhd"])
def test_metaimage(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"case.{extension}"
    picture = SimpleITK.GetImageFromArray(IMAGE)
    picture.SetSpacing(SPACING[::-1])
    picture.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))  # nothing is reoriented
    SimpleITK.WriteImage(picture, str(file))
    same(file, IMAGE, SPACING)
    labels = SimpleITK.GetImageFromArray(LARGE)
    SimpleITK.WriteImage(labels, str(file), useCompression=True)
    assert np.array_equal(read_volume_labels(file).array, LARGE)


def metaimage(file: Path, spacing_line: str) -> Path:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"DimSize = {' '.join(map(str, SHAPE[::-1]))}\n{spacing_line}"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    file.write_bytes(header.encode() + IMAGE.astype("<i2").tobytes())
    return file


def test_metaimage_without_spacing_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "case.mha"
    same(metaimage(file, ""), IMAGE, None)
    assert SimpleITK.ReadImage(str(file)).GetSpacing() == (1, 1, 1)  # what it makes of that
    same(metaimage(file, "ElementSpacing = 0.25 0.5 5\n"), IMAGE, SPACING)
    same(metaimage(file, "ElementSpacing = 0.25 0.5 -5\n"), IMAGE, SPACING)


# --- NRRD -------------------------------------------------------------------------------------


def test_nrrd(tmp_path: Path) -> None:
    xyz = IMAGE.transpose(2, 1, 0)
    for extension in ("nrrd", "nhdr"):
        file = tmp_path / f"case.{extension}"
        nrrd.write(str(file), xyz, {"spacings": list(SPACING[::-1])})
        same(file, IMAGE, SPACING)
        turned = np.diag(SPACING[::-1])[:, [1, 2, 0]] * -1
        nrrd.write(str(file), xyz, {"space": "left-posterior-superior", "space directions": turned})
        same(file, IMAGE, SPACING)
        nrrd.write(str(file), xyz)
        same(file, IMAGE, None)
    nrrd.write(str(tmp_path / "labels.nrrd"), LARGE.transpose(2, 1, 0))
    assert np.array_equal(read_volume_labels(tmp_path / "labels.nrrd").array, LARGE)


def test_nrrd_axes_that_are_not_space(tmp_path: Path) -> None:
    directions = np.vstack(([np.nan] * 3, np.diag(SPACING[::-1])))
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "kinds": ["vector", "domain", "domain", "domain"],
    }
    xyz = IMAGE.transpose(2, 1, 0)
    nrrd.write(str(tmp_path / "one.nrrd"), xyz[None], header)
    same(tmp_path / "one.nrrd", IMAGE, SPACING)
    nrrd.write(str(tmp_path / "two.nrrd"), np.stack((xyz, xyz)), header)
    refused(tmp_path / "two.nrrd", "the kinds vector, domain, domain, domain")
    film = {"kinds": ["domain", "domain", "time"], "spacings": list(SPACING[::-1])}
    nrrd.write(str(tmp_path / "film.nrrd"), xyz, film)
    refused(tmp_path / "film.nrrd", "not all of its axes lie in space")


# --- TIFF -------------------------------------------------------------------------------------


def resolution(height: float, width: float) -> tuple[float, float]:
    """As TIFF counts it: pixels for each unit, across and down."""
    return 1 / width, 1 / height


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


# --- OME-Zarr, MRC, HDF5 ----------------------------------------------------------------------


def ome_zarr(
    file: Path, levels: list[Array], version: str, path: str = "s0", unit: str | None = "micrometer"
) -> Any:
    """A pyramid whose spacing is told half by the level and half by the whole."""
    root = zarr.open_group(str(file), mode="w", zarr_format=3 if version == "0.5" else 2)
    return describe(root, levels, version, path, unit)


def describe(group: Any, levels: list[Array], version: str, path: str, unit: str | None) -> Any:
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


def mrc(file: Path, array: Array, size: tuple[float, ...] | None = SPACING) -> Path:
    with mrcfile.new(file, overwrite=True) as opened:
        opened.set_data(array)
        opened.set_volume()
        if size is not None:
            opened.voxel_size = size[::-1]
    return file


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


# --- what all have in common ------------------------------------------------------------------

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


def _spaced(picture: Any) -> Any:
    picture.SetSpacing(SPACING[::-1])
    return picture


def _hdf5(file: Path, array: Array) -> None:
    with h5py.File(file, "w") as opened:
        opened["main"] = array
        opened["main"].attrs["element_size_um"] = SPACING


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


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_measured_and_trained_on(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_bars(tmp_path / "bars", kind)
    (sample,) = read_split(data, "val")
    assert sample.name == "case"
    assert sample.spacing == pytest.approx(SPACING)
    assert sample.truth.sum() == 2 * 6 * 48
    command("thickness", data)
    # 6 pixels of 0.5, twelve times the finest side.
    said = capsys.readouterr().out
    assert "Thinnest is the class 1, 12.0 voxels of the finest axis: start with w = 1x3x3" in said
    if kind in ("nii.gz", "tif"):
        options = ("--features", "2x2x2x2x2x2", "--one-process", "--seeds", 1)
        command("run", "--data", data, "--out", tmp_path, *options, "--iterations", 1)
        said = capsys.readouterr().err
        assert "1 of 1 training volumes are smaller than the crops of 16x32x32" in said
        assert "reaches further across slices than within them; 1x3x3 does not" in said
        assert configuration_of(tmp_path / "bars").crop == (16, 32, 32)
        assert spacing_of(tmp_path / "bars") == pytest.approx(SPACING)
        *_, record = finished_runs(tmp_path / "bars")
        assert record.predictions({})["test/case"].shape == (10, 48, 48)
        command("qualitative", tmp_path, "--data", data)


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "zarr"])
def test_damaged_volumes_are_told_by_their_file(kind: str, tmp_path: Path) -> None:
    data = write_bars(tmp_path / "bars", kind)
    file = data / "val" / "images" / f"case.{kind}"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 3], b"", b"\x1f\x8b", b"no volume at all"):
        file.write_bytes(content)
        with pytest.raises(DataError) as error:
            read_split(data, "val")
        assert str(error.value).startswith(f"{file}: ")
        assert "npz" in str(error.value) or "takes" in str(error.value)


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    image = np.full((10, 48, 48), np.inf, np.float32)
    nifti(data / "val" / "images" / "case.nii.gz", image)
    with pytest.raises(DataError, match=r"images/case\.nii\.gz: image holds values that are not"):
        read_split(data, "val")
    nifti(data / "val" / "images" / "case.nii.gz", np.full((10, 48, 48), 1e300))
    with pytest.raises(DataError, match=r"images/case\.nii\.gz: image holds values that are not"):
        read_split(data, "val")
    data = write_bars(tmp_path / "again", "nii.gz")
    nifti(data / "val" / "masks" / "case.nii.gz", np.where(image > 0, np.nan, 0))
    with pytest.raises(DataError, match=r"masks/case\.nii\.gz: holds values that are not finite"):
        read_split(data, "val")


def test_an_image_and_a_mask_that_lie_apart_are_refused(tmp_path: Path) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    mask = np.zeros((10, 48, 48), np.uint8)
    nifti(data / "val" / "masks" / "case.nii.gz", mask, sizes=(5, 0.5, 0.5))
    with pytest.raises(DataError, match=r"has the spacing 5 x 0.5 x 0.5, but its image"):
        read_split(data, "val")
    nifti(data / "val" / "masks" / "case.nii.gz", mask.transpose(1, 0, 2))
    with pytest.raises(DataError, match=r"has the size 48 x 10 x 48"):
        read_split(data, "val")


def test_common_spacing(tmp_path: Path) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    for folder in ("images", "masks"):
        (data / "val" / folder / "case.nii.gz").rename(data / "train" / folder / "other.nii.gz")
    samples = read_split(data, "train")
    assert common_spacing(samples) == pytest.approx(SPACING)
    metaimage(data / "train" / "images" / "third.mha", "")
    tifffile.imwrite(data / "train" / "masks" / "third.tif", LABELS)
    assert common_spacing(read_split(data, "train")) is None


def test_labels_of_several_classes(tmp_path: Path) -> None:
    for folder, array in (("images", IMAGE), ("masks", LABELS)):
        (tmp_path / "val" / folder).mkdir(parents=True)
        nifti(tmp_path / "val" / folder / "case.nii.gz", array)
    (sample,) = read_split(tmp_path, "val", classes=3)
    assert np.array_equal(sample.truth, LABELS)
    (sample,) = read_split(tmp_path, "val")
    assert np.array_equal(sample.truth, LABELS > 0)
    nifti(tmp_path / "val" / "masks" / "case.nii.gz", np.where(LABELS == 2, 9, LABELS))
    with pytest.raises(DataError, match=r"labels up to 9, takes labels from 0 to 2"):
        read_split(tmp_path, "val", classes=3)


def test_names() -> None:
    names = ("a.b.nii.gz", "a.b.NII.GZ", "a.b.mha", "a.b.ome.tif", "a.b.ome.zarr", "a.b.png")
    assert [identifier(Path(name)) for name in names] == ["a.b"] * len(names)


def test_a_missing_library_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, kind in (("nibabel", "nii.gz"), ("SimpleITK", "mha"), ("nrrd", "nrrd"),
                         ("mrcfile", "mrc"), ("h5py", "h5"), ("zarr", "zarr")):  # fmt: skip
        WRITERS[kind](tmp_path / f"case.{kind}", IMAGE.astype(np.float32))
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            refused(tmp_path / f"case.{kind}", rf'needs {module}; pip install "scnp_kernels\[vol')


def test_nothing_of_the_libraries_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, benchmarks.common.images, benchmarks.common.volumes; "
        "print([m for m in ('nibabel', 'SimpleITK', 'nrrd', 'mrcfile', 'h5py', 'zarr', 'tifffile',"
        " 'imagecodecs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("layout", ["flat", "nested", "unknown"])
@pytest.mark.parametrize("arguments", [("run", "--data"), ("thickness",)])
def test_a_folder_that_cannot_be_read_is_told_what_volumes_must_be(
    layout: str, arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("images", "masks") if layout != "flat" else ("",):
        (tmp_path / "train" / folder).mkdir(parents=True)
        name = "case.par" if layout == "unknown" else "case.nii.gz"
        (tmp_path / "train" / folder / name).write_bytes(gzip.compress(b"half")[:-4])
    error = failing(capsys, *arguments, tmp_path)
    assert "npz" in error
    assert "NIfTI" in error or ".nii.gz" in error


# --- thin stacks ------------------------------------------------------------------------------


def thin_configuration() -> Configuration:
    settings = {**vars(DEFAULTS[3]), "crop": (16, 32, 32), "features": (2,) * 6, "iterations": 1}
    return Configuration(**settings)


def test_thin_stacks_are_padded_by_their_border_slices(tmp_path: Path) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    samples = read_split(data, "train", (16, 32, 32))
    sample = samples[0]
    # An image that is its label tells whether both are padded alike.
    sample.image[:] = sample.truth
    random = np.random.default_rng(0)
    fronts = set()
    for _ in range(8):
        images, labels = Crops(samples, thin_configuration()).draw(random)
        assert images.shape == (2, 1, 16, 32, 32)
        assert torch.equal(images[:, 0].long(), labels)
        for label_map in labels:
            plates = [bool(plane.any()) for plane in label_map]
            places = [place for place, found in enumerate(plates) if found]
            fronts.add(places[0] if places else None)
            assert len(places) in (0, 2)
            assert not places or places[1] - places[0] == 5
    assert len(fronts) > 3  # in front and behind, by chance


def test_the_crop_that_is_advised_for_a_thin_stack_can_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    common = ("run", "--data", data, "--out", tmp_path, "--one-process", "--seeds", 1)
    toy = ("--features", "2x2x2x2x2x2", "--scnp", "off", "--iterations", 1)
    error = failing(capsys, *common, *toy, "--crop-size", 64)
    assert "has the size 10 x 48 x 48, smaller than the training crops of 64 x 64 x 64" in error
    assert error.endswith("--crop-size 16x48x48 fits")
    arguments = [str(a) for a in (*common, *toy, "--crop-size", "16x48x48")]
    assert topology(arguments) == 0
