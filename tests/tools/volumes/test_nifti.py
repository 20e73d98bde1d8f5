"""NIfTI: the array, its spacing in any unit, and exact labels of any scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from benchmarks.common.volumes import read_volume, read_volume_labels
from tests.tools.volumes.files import IMAGE, LABELS, LARGE, SPACING, Array, nifti, refused, same


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
