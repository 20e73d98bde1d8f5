"""Values that are not finite and masks without a structure are found before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.common.images import (
    DataError,
    check_foreground,
    read_bands,
    read_colour,
    read_labels,
    read_mask,
)
from benchmarks.demo.__main__ import PRESET
from benchmarks.demo.__main__ import main as demo
from benchmarks.topology.__main__ import main as topology
from tests.tools.images.files import MASK
from tests.topology_data import failing, save, write_images


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    tifffile.imwrite(file, np.where(MASK, 1, value).astype(np.float32))
    for read in (read_bands, read_colour, read_mask, lambda file: read_labels(file, 3)):
        with pytest.raises(DataError, match=r"image\.tif: holds values that are not finite"):
            read(file)
    for infrared in (np.where(MASK, 1, value), np.full(MASK.shape, value)):  # tagged as alpha
        stored = np.stack([*[MASK] * 3, infrared], axis=-1).astype(np.float32)
        tifffile.imwrite(file, stored, photometric="rgb", extrasamples=["unassalpha"])
        with pytest.raises(DataError, match=r"image\.tif: holds values that are not finite"):
            read_bands(file)


@pytest.mark.parametrize("command", ["demo", "run"])
def test_a_nan_is_found_before_training(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    image[:2] = np.nan
    (data / "train" / "images" / "0.jpg").unlink()
    tifffile.imwrite(data / "train" / "images" / "0.tif", image)
    if command == "run":
        error = failing(capsys, "run", "--data", data, "--out", tmp_path)
    else:
        assert demo(["--data", str(data), "--crop-size", "32", "--out", str(tmp_path)]) == 1
        error = capsys.readouterr().err
    assert f"{data / 'train' / 'images' / '0.tif'}: holds values that are not finite" in error


def test_the_demo_stops_at_a_loss_that_is_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data")
    diverging = replace(PRESET, learning_rate=float("inf"))
    monkeypatch.setattr("benchmarks.demo.__main__.PRESET", diverging)
    out = tmp_path / "out"
    options = ["--crop-size", "32", "--iterations", "20", "--out", str(out)]
    assert demo(["--data", str(data), *options]) == 1
    captured = capsys.readouterr()
    assert "error: ce_dice-off-seed0: the loss is nan at iteration " in captured.err
    assert "Compared with" not in captured.out
    assert list(out.iterdir()) == []


def test_nothing_to_measure_is_an_error_of_thickness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    for index in range(2):
        save(data / "val" / "masks" / f"{index}.png", np.zeros((32, 32)))
    error = failing(capsys, "thickness", data, "--split", "val")
    assert error.endswith(f"{data / 'val'}: no mask has a foreground (nonzero) pixel")


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("command", ["demo", "run", "thickness"])
def test_masks_without_background_are_an_error(
    command: str, split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    for index in range(2):
        save(data / split / "masks" / f"{index}.png", np.full((32, 32), 255))
    if command == "demo":
        assert demo(["--data", str(data), "--crop-size", "32", "--out", str(tmp_path)]) == 1
        error = capsys.readouterr().err
    elif command == "run":
        error = failing(capsys, "run", "--data", data, "--out", tmp_path)
    else:
        error = failing(capsys, "thickness", data, "--split", split)
    assert f"error: {data / split}" in error
    assert "no mask has a background (zero) pixel" in error


def test_one_mask_without_background_among_others_is_fine() -> None:
    masks = [np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)]
    assert check_foreground(Path("train"), masks) == "train: 50 % of the pixels are foreground"
    with pytest.raises(DataError, match="all are of the label 2"):
        check_foreground(Path("train"), [np.full((4, 4), 2, np.uint8)], classes=3)
    assert "100 %" in check_foreground(Path("train"), [np.array([[1, 2]], np.uint8)], classes=3)


def test_the_share_of_foreground_is_told_once_per_split(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    for split in ("train", "val", "test"):
        for index in range(2):
            mask = np.zeros((32, 32))
            mask[:8] = 1
            save(data / split / "masks" / f"{index}.png", mask)
    toy = ["--crop-size", "32", "--iterations", "1"]
    assert demo(["--data", str(data), "--out", str(tmp_path / "demo"), *toy]) == 0
    said = capfd.readouterr().out
    small = ["--features", "2x2x2x2x2x2", "--seeds", "1", "--scnp", "off", "--workers", "1"]
    run = ["run", "--data", str(data), "--out", str(tmp_path / "out"), *small, *toy]
    assert topology(run) == 0
    for text in (said, capfd.readouterr().err):
        for split in ("train", "val", "test"):
            lines_ = [line for line in text.splitlines() if f"{data / split}" in line]
            assert len(lines_) == 1
            assert lines_[0].endswith(": 25 % of the pixels are foreground")
