"""Stacks of images in npz files, as data sets of the topology benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.images import DataError
from benchmarks.topology.datasets import is_volumetric, read_data_set, read_pixels_to_show
from benchmarks.topology.records import finished_runs
from tests.topology_data import command, is_picture, run_arguments

SHAPE = (3, 33, 37)
IMAGES = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8)
MASKS = IMAGES > 150
NAMES = np.array(["b", "a", "c"])


def write(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        np.savez(folder / f"{split}.npz", **arrays)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_masks_as_they_are_or_packed(packed: bool, tmp_path: Path) -> None:
    masks = np.packbits(MASKS, axis=-1) if packed else MASKS
    data = read_data_set(write(tmp_path, images=IMAGES, masks=masks, ids=NAMES), ["test"], (32, 32))
    assert data.spatial_dimensions == 2
    assert [sample.name for sample in data.train] == NAMES.tolist()
    for sample, image, mask in zip(data.train, IMAGES, MASKS, strict=True):
        assert np.array_equal(sample.truth, mask)
        whole = image.astype(np.float64)
        wanted = (whole - whole.mean()) / whole.std()
        np.testing.assert_allclose(sample.image, wanted[np.newaxis], atol=1e-5)
    assert np.array_equal(read_pixels_to_show(tmp_path, "test", "a"), IMAGES[1:2])


def test_colours_labels_and_another_key(tmp_path: Path) -> None:
    colours = np.stack([IMAGES, IMAGES + 1, IMAGES // 2], axis=-1)
    nuclei = (IMAGES % 3).astype(np.int32)
    write(tmp_path, images=colours, nuclei=nuclei)
    assert not is_volumetric(tmp_path)
    data = read_data_set(tmp_path, ["test"], (32, 32), classes=3, mask_key="nuclei")
    assert data.channels == 3
    assert [sample.name for sample in data.val] == ["0", "1", "2"]
    assert np.array_equal(data.val[2].truth, nuclei[2])
    assert np.array_equal(read_pixels_to_show(tmp_path, "val", "2"), np.moveaxis(colours[2], -1, 0))


def test_images_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, images=IMAGES, masks=MASKS)
    (tmp_path / "test.npz").unlink()
    (tmp_path / "test").mkdir()
    for name in ("left", "right"):  # without ids both stacks have images 0, 1 and 2
        np.savez(tmp_path / "test" / f"{name}.npz", images=IMAGES, masks=MASKS)
    with pytest.raises(DataError) as error:
        read_data_set(tmp_path, ["test"], (32, 32))
    folder = tmp_path / "test"
    assert str(error.value) == (
        f"{folder / 'right.npz'}: has an image called 0, as {folder / 'left.npz'} has; takes names "
        "that differ, in an array ids"
    )
    np.savez(folder / "right.npz", images=IMAGES, masks=MASKS, ids=NAMES)
    assert len(read_data_set(tmp_path, ["test"], (32, 32)).tests["test"]) == 6


def test_a_single_image_has_its_file_s_name(tmp_path: Path) -> None:
    write(tmp_path, images=IMAGES, masks=MASKS)
    (tmp_path / "test.npz").unlink()
    (tmp_path / "test").mkdir()
    for name in ("left", "right"):
        np.savez(tmp_path / "test" / f"{name}.npz", images=IMAGES[:1], masks=MASKS[:1])
    samples = read_data_set(tmp_path, ["test"], (32, 32)).tests["test"]
    assert [sample.name for sample in samples] == ["left", "right"]
    assert np.array_equal(read_pixels_to_show(tmp_path, "test", "right"), IMAGES[:1])


def test_hidden_files_are_no_data(tmp_path: Path) -> None:
    write(tmp_path, images=IMAGES, masks=MASKS)
    (tmp_path / "test.npz").rename(tmp_path / "visible.npz")
    (tmp_path / "test").mkdir()
    (tmp_path / "visible.npz").rename(tmp_path / "test" / "visible.npz")
    (tmp_path / "test" / "._visible.npz").write_bytes(b"a Mac's notes about the file")
    assert len(read_data_set(tmp_path, ["test"], (32, 32)).tests["test"]) == 3


def test_a_stack_trains_and_is_shown(tmp_path: Path) -> None:
    data = write(tmp_path / "cells", images=IMAGES, masks=MASKS, ids=NAMES)
    options = ("--scnp", "off,on", "--seeds", 1, "--iterations", 1)
    command(*run_arguments(data, tmp_path / "out", *options))
    out = tmp_path / "out" / "cells"
    assert {row["image"] for row in finished_runs(out)[0].scores()} == set("abc")
    command("qualitative", tmp_path / "out", "--data", data)
    assert is_picture(out / "qualitative-ce_dice.png")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES}, "takes an array called images and one called masks or interiors"),
        ({"images": IMAGES, "masks": MASKS[:2]}, "images has the shape (3, 33, 37) and masks (2, "),
        ({"images": IMAGES, "masks": MASKS[..., :5]}, "and masks (3, 33, 5); takes"),
        ({"images": IMAGES[0], "masks": MASKS[0]}, "takes [images, height, width] for both"),
        ({"images": IMAGES, "masks": MASKS, "ids": NAMES[:2]}, "ids takes a name for each of 3"),
        ({"images": IMAGES, "masks": MASKS, "ids": NAMES[[0, 0, 1]]}, "ids takes a name for each"),
        ({"images": np.full(SHAPE, np.nan), "masks": MASKS}, "images holds values that are not"),
        ({"images": IMAGES, "masks": NAMES}, "masks holds <U1, takes numbers"),
    ],
)
def test_faulty_stacks(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    write(tmp_path, **arrays)
    with pytest.raises(DataError) as error:
        read_data_set(tmp_path, ["test"], (32, 32))
    assert str(error.value).startswith(f"{tmp_path / 'train.npz'}: ")
    assert words in str(error.value)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, images=IMAGES, masks=MASKS)
    (tmp_path / "train.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"train\.npz: cannot be read as an npz file"):
        is_volumetric(tmp_path)
