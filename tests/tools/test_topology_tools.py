"""The topology benchmark's window adviser, and what losses cost."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from benchmarks.topology.__main__ import main
from benchmarks.topology.datasets import Labels
from benchmarks.topology.iteration_cost import SCNP_FORMS, example, iteration, measure
from benchmarks.topology.losses import LOSSES
from benchmarks.topology.measures import Mask
from benchmarks.topology.results import LOSS_TITLES
from benchmarks.topology.structures import count_holes, structure_thickness
from benchmarks.topology.windows import suggested_window, suggested_windows, window_per_axis
from scnp_kernels.metrics import betti_numbers
from tests.topology_data import failing


def bar(width: int, shape: tuple[int, ...] = (30, 60)) -> Mask:
    """A bar this wide across the whole image."""
    mask = np.zeros(shape, np.bool_)
    mask[10 : 10 + width] = True
    return mask


@pytest.mark.parametrize(("width", "expected"), [(1, 2), (2, 2), (3, 4), (4, 4), (7, 8), (8, 8)])
def test_thickness_of_a_bar(width: int, expected: float) -> None:
    assert structure_thickness(bar(width)) == expected


def test_thickness_of_a_rod_and_of_a_plate_in_three_dimensions() -> None:
    rod = np.zeros((15, 15, 40), np.bool_)
    rod[5:8, 5:8] = True
    assert structure_thickness(rod) == 4
    assert structure_thickness(bar(3, (24, 20, 20))) == 4


def test_thickness_of_nothing_and_of_everything() -> None:
    assert np.isnan(structure_thickness(np.zeros((4, 4), np.bool_)))
    assert structure_thickness(np.ones((4, 6), np.bool_)) == 4


@pytest.mark.parametrize(
    ("thickness", "windows"),
    [
        (1.0, (3,)),
        (2.8, (3,)),
        (3.4, (3,)),
        (4.5, (3, 5)),
        (5.1, (3, 5)),
        (6.0, (5, 7)),
        (30, (3,)),
    ],
)
def test_windows_for_a_thickness(thickness: float, windows: tuple[int, ...]) -> None:
    assert suggested_windows(thickness) == windows
    assert suggested_window(thickness) == windows[0]


def test_the_window_without_a_thickness() -> None:
    assert suggested_window(float("nan")) == 3


def read_table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as text:
        return list(csv.DictReader(text))


def save_masks(root: Path, masks: list[Mask]) -> Path:
    for folder in ("images", "masks"):
        (root / "train" / folder).mkdir(parents=True)
    for index, mask in enumerate(masks):
        for folder in ("images", "masks"):
            file = root / "train" / folder / f"{index}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(file)
    return root


def test_the_adviser_names_the_thinnest_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save_masks(tmp_path / "bars", [bar(4), bar(5)])  # measure 4 and 6
    assert main(["thickness", str(data), "--to", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "| 1 | 2 | 5.0 | 4.0 to 6.0 | 3 or 5 | 0.0 | 0.0 |" in output
    assert "holes that the class 1 has" not in output
    assert "Thinnest is the class 1, 5.0 pixels: start with w = 3, then try 5." in output
    assert "SCNP alone can find nothing" not in output
    assert "Thinnest is the class 1" in (tmp_path / "thickness.md").read_text()
    rows = read_table(tmp_path / "thickness.csv")
    assert [row["class"] for row in rows] == ["background", "1"]


def test_narrow_holes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.ones((48, 60), np.bool_)
    mask[2:30, 3:5] = False  # 2 pixels wide: narrow
    mask[10:13, 20:23] = False
    mask[20:40, 20:40] = False
    mask[:9, 50:] = False  # open to the border: none
    data = save_masks(tmp_path / "holes", [mask, bar(4)])
    assert main(["thickness", str(data), "--to", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "narrow ones have no room for 3 x 3 pixels" in output
    assert (
        "Of the 1.5 holes that the class 1 has in an image, 0.5 have no room for 3 x 3 pixels."
    ) in output
    background, foreground = read_table(tmp_path / "thickness.csv")
    assert (background["holes"], background["narrow holes"]) == ("", "")
    assert (foreground["holes"], foreground["narrow holes"]) == ("1.5", "0.5")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("side", [1, 3, 5])
def test_holes_are_those_that_betti_1_counts(seed: int, side: int) -> None:
    random = np.random.default_rng(seed)
    mask = gaussian_filter(random.random((40, 50)), 1.5) > 0.495
    holes, narrow = count_holes(mask, side)
    assert holes == betti_numbers(mask, connectivity=8)[1] > 0
    # Brute force: fill every hole by itself, and try every square.
    regions, count = label(~mask)
    expected = 0
    for region in range(1, count + 1):
        hole = regions == region
        if betti_numbers(mask | hole, connectivity=8)[1] == holes:
            continue  # open to the border
        expected += not sliding_window_view(hole, (side, side)).all((2, 3)).any()
    assert narrow == expected


def test_the_thickness_of_other_masks_has_a_file_of_its_own(tmp_path: Path) -> None:
    data = save_masks(tmp_path / "bars", [bar(4)])
    (data / "train").rename(data / "test")
    assert main(["thickness", str(data), "--split", "test", "--to", str(tmp_path)]) == 0
    assert sorted(file.name for file in tmp_path.glob("*.*")) == [
        "thickness-test.csv",
        "thickness-test.md",
    ]


def test_the_background_can_be_thinnest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = save_masks(tmp_path / "gaps", [~bar(2)])
    assert main(["thickness", str(data)]) == 0
    output = capsys.readouterr().out
    assert "Thinnest is the background, 2.0 pixels: start with w = 3." in output
    assert "That thin, SCNP never made significantly fewer mistakes than the plain loss" in output
    assert "post-process, and compare joint training with the plain loss" in output


def test_the_adviser_reads_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interior = ~bar(3, (24, 20, 20))
    np.savez(tmp_path / "train.npz", image=interior.astype(np.uint8), interior=interior)
    assert main(["thickness", str(tmp_path), "--spacing", "1x1x1"]) == 0
    assert "Thinnest is the background, 4.0 voxels: start with w = 3" in capsys.readouterr().out


def test_the_adviser_asks_for_a_spacing_that_nothing_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interior = ~bar(3, (24, 20, 20))
    np.savez(tmp_path / "train.npz", image=interior.astype(np.uint8), interior=interior)
    error = failing(capsys, "thickness", tmp_path)
    assert "nothing says how far the voxels of train are apart" in error
    assert "give --spacing DEPTHxHEIGHTxWIDTH" in error


def thick_slices() -> Mask:
    """Bars of 6 pixels in three slices."""
    mask = np.zeros((12, 48, 48), np.bool_)
    for slice_ in (2, 6, 9):
        mask[slice_, 10:16] = mask[slice_, 30:36] = True
    return mask


@pytest.mark.parametrize("told_by", ["option", "npz"])
def test_the_adviser_measures_thick_slices_in_space(
    told_by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = thick_slices()
    image, file = mask.astype(np.float32), tmp_path / "train.npz"
    if told_by == "npz":
        np.savez(file, image=image, mask=mask, spacing=np.array([5, 0.5, 0.5]))
    else:
        np.savez(file, image=image, mask=mask)
    option = [] if told_by == "npz" else ["--spacing", "10x1x1"]
    assert main(["thickness", str(tmp_path), *option]) == 0
    said = capsys.readouterr().out
    assert "Thinnest is the class 1, 6.0 voxels of the finest axis: start with w = 1x5x5" in said
    assert "then try 1x7x7" in said
    assert f"Voxels of {'5 x 0.5 x 0.5' if told_by == 'npz' else '10 x 1 x 1'}" in said


def test_thickness_in_space() -> None:
    mask = thick_slices()
    assert structure_thickness(mask) == 2  # a slice, if it were as thick as a pixel is wide
    assert structure_thickness(mask, (10, 1, 1)) == 6
    assert structure_thickness(mask.transpose(1, 2, 0), (0.3, 0.3, 3)) == pytest.approx(6)
    # A rod of 4 x 4 voxels twice as deep as wide, and the same one of cubes.
    rod, cubes = np.zeros((10, 20, 30), np.bool_), np.zeros((20, 20, 30), np.bool_)
    rod[4:6, 8:12] = cubes[8:12, 8:12] = True
    assert structure_thickness(rod, (2, 1, 1)) == structure_thickness(cubes, (1, 1, 1)) == 4
    assert structure_thickness(np.ones((2, 9, 9), np.bool_), (3, 1, 1)) == 6


@pytest.mark.parametrize(
    ("side", "spacing", "window"),
    [
        (3, (1, 1, 1), (3, 3, 3)),
        (3, (3, 1, 1), (3, 3, 3)),
        (3, (3.1, 1, 1), (1, 3, 3)),
        (7, (2, 1, 1), (3, 7, 7)),
        (5, (1.2, 1, 1), (5, 5, 5)),
        (7, (0.5, 0.5, 1.2), (7, 7, 3)),
        (1, (1, 1, 1), (1, 1, 1)),
    ],
)
def test_windows_per_axis(side: int, spacing: tuple[float, ...], window: tuple[int, ...]) -> None:
    assert window_per_axis(side, spacing) == window


@pytest.mark.parametrize("text", ["5", "5x1", "0x1x1", "axbxc", "1x1xnan"])
def test_spacings_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["thickness", ".", "--spacing", text])
    assert "takes three numbers above 0 joined by x" in capsys.readouterr().err


def test_the_adviser_names_a_folder_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["thickness", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error == (
        f"error: {tmp_path / 'none'}: no such folder; thickness takes a data set's folder\n"
    )


def labels(*rows: str) -> Labels:
    return np.array([[int(pixel) for pixel in row.replace(".", "0")] for row in rows], np.uint8)


TOY_COST = ["cost", "--one-process", "--seconds", "0", "--threads", "1"]


def test_the_tables_of_cost(tmp_path: Path) -> None:
    shapes = ["1x2x32x24", "1x3x12x10x8"]
    assert main([*TOY_COST, "--out", str(tmp_path), "--shapes", *shapes]) == 0
    for shape in shapes:
        rows = read_table(tmp_path / f"cost-{shape}.csv")
        assert [row["loss"] for row in rows] == [LOSS_TITLES[name] for name in LOSSES]
        assert rows[2]["of CE+Dice"] == "1x"
        assert all(float(row["tensors, MiB"]) > 0 for row in rows)
        forms = read_table(tmp_path / f"cost-scnp-{shape}.csv")
        assert forms[0]["CE+Dice"] == "plain"
        assert len(forms) == 1 + len(SCNP_FORMS)
        assert (tmp_path / f"cost-{shape}.png").stat().st_size > 0


def test_the_cost_of_some_losses_keeps_what_they_are_compared_with(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--shapes", "1x2x16x16", "--losses", "focal"]
    assert main([*TOY_COST, *options]) == 0
    rows = read_table(tmp_path / "cost-1x2x16x16.csv")
    assert [row["loss"] for row in rows] == ["CE+Dice", "Focal"]


@pytest.mark.parametrize("shape", [(2, 2, 24, 20), (1, 3, 8, 10, 9)])
def test_the_three_forms_of_scnp_are_one_loss(shape: tuple[int, ...]) -> None:
    # What is compared in the table computes the same, forward and backward.
    given = example(shape, seed=1)
    values = [iteration(form, shape, 3)(given) for form in SCNP_FORMS]
    gradients = [torch.autograd.grad(value, given.logits)[0] for value in values]
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        torch.testing.assert_close(value, values[0])
        torch.testing.assert_close(gradient, gradients[0])
    assert values[0].item() > iteration("ce_dice", shape, 3)(given).item()


def test_the_example_is_mostly_right() -> None:
    given = example((2, 3, 64, 64), seed=0)
    right = (given.logits.argmax(1) == given.label_map).float().mean()
    assert 0.7 < float(right) < 0.99
    assert given.masks.sum(1).eq(1).all()


def test_memory_of_a_loss_in_numpy_and_of_one_in_tensors() -> None:
    shape = (1, 2, 64, 64)
    costs = measure(shape, ["ce", "regionwise"], 3, 0, 1, own_processes=False, say=print)
    of = {cost.name: cost.prepared.facts for cost in costs}
    logits = 2 * 64 * 64 * 4  # bytes; the gradient alone is as many
    assert of["ce"]["tensors"] >= logits
    assert of["regionwise"]["arrays"] > logits > of["ce"]["arrays"]


def test_a_process_of_its_own_measures_the_same_memory() -> None:
    shape = (1, 2, 32, 32)
    own, here = (
        measure(shape, ["ce"], 3, 0, 1, own_processes=own, say=print)[0] for own in (True, False)
    )
    assert own.prepared.facts["tensors"] == here.prepared.facts["tensors"]
    assert len(own.samples) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shapes", "2x2x64"], "--shapes: got 2x2x64, takes BxCxHxW or BxCxDxHxW"),
        (["--shapes", "2x1x8x8"], "--shapes: got 2x1x8x8, takes"),
        (["--kernel-size", "4"], "--kernel-size: got 4, takes an odd number"),
    ],
)
def test_what_cost_refuses(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", "--out", str(tmp_path), *options]) == 1
    assert capsys.readouterr().err.startswith(f"error: {words}")
