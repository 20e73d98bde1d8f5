"""What holds for volumes of every format: measured, trained on, refused in words."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.common.images import DataError
from benchmarks.common.volumes import identifier
from benchmarks.topology.datasets import common_spacing, read_split
from benchmarks.topology.records import configuration_of, finished_runs, spacing_of
from tests.tools.volumes.files import (
    IMAGE,
    LABELS,
    SPACING,
    WRITERS,
    metaimage,
    nifti,
    refused,
    write_bars,
)
from tests.topology_data import command, failing


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
