"""Which numbers masks hold: what is taken for one class is told, and grey levels are labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.common.images import DataError
from benchmarks.topology.datasets import foreground_shares, read_data_set, read_split
from tests.topology_data import command, failing, run_arguments, save

SIDE = 32
SPLITS = ("train", "val", "test")
AXON = np.zeros((SIDE, SIDE), np.uint8)  # a ring of label 1 around a disc of label 2
AXON[8:24, 8:24] = 1
AXON[12:20, 12:20] = 2
Labels = npt.NDArray[np.uint8]


def write(root: Path, *masks: Labels) -> Path:
    """Every split holds the same masks, beside images that show them."""
    for split in SPLITS:
        for index, mask in enumerate(masks):
            save(root / split / "images" / f"{index}.png", mask / max(1, mask.max()) * 200)
            save(root / split / "masks" / f"{index}.png", mask)
    return root


def write_volumes(root: Path, mask: Labels) -> Path:
    root.mkdir(parents=True)
    for split in SPLITS:
        volume = np.repeat(mask[None], SIDE, axis=0)
        np.savez(root / f"{split}.npz", image=volume.astype(np.float32), mask=volume)
    return root


def said_of(data: Path, classes: int = 2, dimensions: int = 2) -> str:
    """What is said of the masks' numbers."""
    read = read_data_set(data, ["test"], (SIDE,) * dimensions, classes)
    said = foreground_shares(data, read)
    assert [line.split(": ")[0] for line in said[:3]] == [str(data / split) for split in SPLITS]
    assert all(line.endswith(" % of the pixels are foreground") for line in said[:3])
    assert all(line.startswith(f"{data}: ") for line in said[3:])
    return " ".join(said[3:])


@pytest.mark.parametrize("numbers", [(1, 2), (127, 255), (128, 255)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_classes_that_count_as_one_are_told_with_the_way_out(
    numbers: tuple[int, int], dimensions: int, tmp_path: Path
) -> None:
    mask = np.array([0, *numbers], np.uint8)[AXON]
    data = (write if dimensions == 2 else write_volumes)(tmp_path / "axons", mask)
    one, two = numbers
    said = said_of(data, dimensions=dimensions)
    assert f"{one} and {two} count as one class" in said
    assert "--classes 3 " in said


def test_thickness_tells_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("thickness", write(tmp_path / "axons", AXON))
    assert "1 and 2 count as one class" in capsys.readouterr().out


@pytest.mark.parametrize("numbers", [(1, 255), (10, 20), (3, 30, 200)])
def test_numbers_that_are_no_labels_are_to_be_written_as_labels(
    numbers: tuple[int, ...], tmp_path: Path
) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for place, number in enumerate(numbers):
        mask[4 * place : 4 * place + 4] = number
    said = said_of(write(tmp_path / "data", mask))
    assert "count as one class" in said
    assert f"from 1 to {len(numbers)}" in said
    assert f"--classes {len(numbers) + 1} " in said


def test_of_many_numbers_nothing_is_said(tmp_path: Path) -> None:
    instances = np.repeat(np.repeat(np.arange(16).reshape(4, 4), 8, axis=0), 8, axis=1)
    data = write(tmp_path / "cells", instances.astype(np.uint8))
    assert not said_of(data)


def test_of_one_number_nothing_is_said(tmp_path: Path) -> None:
    mask = (AXON > 0).astype(np.uint8)
    assert not said_of(write(tmp_path / "white", 255 * mask))


@pytest.mark.parametrize(
    ("greys", "classes"),
    [
        ((0, 127, 255), 3),
        ((0, 128, 255), 3),
        ((0, 85, 170, 255), 4),
    ],
)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_even_grey_levels_are_labels(
    greys: tuple[int, ...], classes: int, dimensions: int, tmp_path: Path
) -> None:
    labels = AXON.copy()
    labels[:4, :] = classes - 1
    mask = np.array(greys, np.uint8)[labels]
    data = (write if dimensions == 2 else write_volumes)(tmp_path / "axons", mask)
    truth = read_split(data, "train", classes=classes)[0].truth
    assert truth.dtype == np.uint8
    np.testing.assert_array_equal(truth if dimensions == 2 else truth[0], labels)
    said = said_of(data, classes, dimensions)
    levels = np.unique(mask)
    read = ", ".join(f"{level} as {np.unique(labels)[at]}" for at, level in enumerate(levels))
    assert f"grey levels are read as labels ({read})" in said


def test_a_mask_without_the_middle_class_is_read_alike(tmp_path: Path) -> None:
    greys = np.array([0, 127, 255], np.uint8)
    data = write(tmp_path / "axons", greys[AXON], greys[np.where(AXON == 1, 0, AXON)])
    assert read_split(data, "train", classes=3)[1].truth.max() == 2
    assert "0 as 0, 127 as 1, 255 as 2" in said_of(data, classes=3)


def test_255_beside_labels_means_no_class(tmp_path: Path) -> None:
    """As in VOC and Cityscapes: not to be read as the last class, in no file of the set."""
    ignored = np.where(AXON > 0, 255, 0).astype(np.uint8)
    with pytest.raises(DataError, match=r"0\.png: labels up to 255, .*; holds 0, 1, 255"):
        read_split(write(tmp_path / "one", np.where(AXON == 2, 255, AXON)), "train", classes=3)
    data = write(tmp_path / "two", AXON, ignored)
    with pytest.raises(DataError, match=r"of 1: holds a grey level .*of 0 holds the numbers 1, 2"):
        read_data_set(data, ["test"], (SIDE, SIDE), classes=3)
    for split in ("val", "test"):  # grey levels there, labels where it trains
        save(data / split / "masks" / "0.png", ignored)
    save(data / "train" / "masks" / "1.png", AXON)
    with pytest.raises(DataError, match="grey level"):
        read_data_set(data, ["test"], (SIDE, SIDE), classes=3)


def test_black_and_white_alone_are_not_three_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "retina", np.where(AXON > 0, 255, 0).astype(np.uint8))
    for arguments in (
        run_arguments(data, tmp_path / "out", "--classes", 3),
        ["thickness", data, "--classes", "3"],
    ):
        error = failing(capsys, *arguments)
        assert f"{data}" in error
        assert "255" in error
        assert "--classes 3" in error


def test_other_numbers_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"up to 200, takes .* 0, 127, 255 .*; holds 0, 100, 200"):
        read_split(write(tmp_path / "data", 100 * AXON), "train", classes=3)
