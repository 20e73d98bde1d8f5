"""MetaImage and NRRD: the array and its spacing, or none."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK

from benchmarks.common.volumes import read_volume_labels
from tests.tools.volumes.files import IMAGE, LARGE, SPACING, metaimage, refused, same


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


def test_metaimage_without_spacing_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "case.mha"
    same(metaimage(file, ""), IMAGE, None)
    assert SimpleITK.ReadImage(str(file)).GetSpacing() == (1, 1, 1)  # what it makes of that
    same(metaimage(file, "ElementSpacing = 0.25 0.5 5\n"), IMAGE, SPACING)
    same(metaimage(file, "ElementSpacing = 0.25 0.5 -5\n"), IMAGE, SPACING)


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
