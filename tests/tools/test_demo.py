"""The demo: its measures, its data and the files that it writes."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from benchmarks.common import panels
from benchmarks.common.files import written_whole
from benchmarks.common.images import BoolMask
from benchmarks.common.marks import Marks, find_marks
from benchmarks.demo import report, vessels
from benchmarks.demo.__main__ import PRESET, main
from benchmarks.topology import collapse, losses, training
from benchmarks.topology.crops import Crops
from benchmarks.topology.measures import cldice, component_count, dice
from benchmarks.topology.network import build_network
from tests.topology_data import SIDE, save, write_images

PLAIN, SCNP, JOINT = METHODS = ("CE+Dice, plain", "CE+Dice, SCNP, w = 3", "CE+Dice, joint, w = 3")


def mask(*rows: str) -> BoolMask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_dice() -> None:
    assert dice(mask("##.."), mask(".##.")) == pytest.approx(0.5)
    assert dice(mask("...."), mask("....")) == 1.0
    assert dice(mask("...."), mask(".#..")) == 0.0


def test_cldice_of_a_half_drawn_line() -> None:
    # All of the predicted centreline is true, half of the true one is found: 2 * 1 * .5 / 1.5.
    line, half = np.zeros((9, 20), np.bool_), np.zeros((9, 20), np.bool_)
    line[4, :] = True
    half[4, :10] = True
    assert cldice(half, line) == pytest.approx(2 / 3)
    assert cldice(line, line) == 1.0


def test_cldice_of_empty_masks() -> None:
    empty, line = np.zeros((5, 9), np.bool_), mask("." * 9, "#" * 9, "." * 9, "." * 9, "." * 9)
    assert cldice(empty, empty) == 1.0
    assert cldice(empty, line) == 0.0
    assert cldice(line, empty) == 0.0


def test_a_break_is_marked_in_the_middle_of_its_gap() -> None:
    marks = find_marks(mask("####...###"), mask("##########"))
    assert marks.breaks == [(0.0, 5.0)]
    assert marks.broken_off_mask.tolist() == mask(".......###").tolist()
    assert (marks.false_components, marks.missing) == ([], [])


def test_a_false_component_is_marked_on_itself() -> None:
    marks = find_marks(mask("####", "....", "..##"), mask("####", "....", "...."))
    assert marks.false_mask.tolist() == mask("....", "....", "..##").tolist()
    assert marks.false_components[0] in [(2.0, 2.0), (2.0, 3.0)]
    assert (marks.breaks, marks.missing) == ([], [])


def test_a_missing_piece_is_marked_where_it_should_be() -> None:
    marks = find_marks(mask("####", "....", "...."), mask("####", "....", ".###"))
    assert marks.missing == [(2.0, 2.0)]
    assert (marks.breaks, marks.false_components) == ([], [])


@pytest.mark.parametrize("seed", range(20))
def test_marks_account_for_every_piece(seed: int) -> None:
    random = np.random.default_rng(seed)
    prediction, truth = random.random((2, 12, 12)) < random.uniform(0.1, 0.5)
    marks = find_marks(prediction, truth)
    difference = component_count(prediction, 8) - component_count(truth, 8)
    assert difference == (len(marks.false_components) + len(marks.breaks) - len(marks.missing))


def test_the_window_shows_where_scnp_removes_marks() -> None:
    none = np.zeros((900, 700), np.bool_)
    plain = Marks([(10.0, 10.0)], [(850.0, 600.0), (840.0, 610.0)], [], none, none)
    better = Marks([(10.0, 10.0)], [], [], none, none)
    marks = {PLAIN: plain, SCNP: better, JOINT: better}
    window = panels.most_telling_window((900, 700), marks, PLAIN)
    assert window.holds((850.0, 600.0))
    assert window.holds((840.0, 610.0))
    assert (window.height, window.width) == (panels.LARGEST_SIDE, panels.LARGEST_SIDE)
    assert window.of(none).shape == (window.height, window.width)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small valid dataset: two images with masks in every split."""
    return write_images(tmp_path / "bars")


def remove_split(root: Path) -> Path:
    (root / "val").rename(root / "validation")
    return root / "val"


def remove_mask(root: Path) -> Path:
    (root / "test" / "masks" / "1.png").unlink()
    return root / "test" / "images" / "1.jpg"


def remove_image(root: Path) -> Path:
    (root / "test" / "images" / "1.jpg").unlink()
    return root / "test" / "masks" / "1.png"


def empty_folder(root: Path) -> Path:
    for file in (root / "train" / "images").iterdir():
        file.unlink()
    return root / "train" / "images"


def other_size(root: Path) -> Path:
    save(root / "val" / "masks" / "0.png", np.ones((SIDE, SIDE + 1)))
    return root / "val" / "masks" / "0.png"


def broken_image(root: Path) -> Path:
    file = root / "test" / "images" / "0.jpg"
    file.write_bytes(file.read_bytes()[:200])
    return file


def not_an_image(root: Path) -> Path:
    (root / "test" / "masks" / "0.png").write_text("a mask")
    return root / "test" / "masks" / "0.png"


def small_image(root: Path) -> Path:
    save(root / "train" / "images" / "0.jpg", np.ones((SIDE, SIDE - 1)))
    save(root / "train" / "masks" / "0.png", np.ones((SIDE, SIDE - 1)))
    return root / "train" / "images" / "0.jpg"


def same_name(root: Path) -> Path:
    save(root / "val" / "images" / "0.png", np.ones((SIDE, SIDE)))
    return root / "val" / "images" / "0.png"


def no_foreground(root: Path) -> Path:
    for index in range(2):
        save(root / "train" / "masks" / f"{index}.png", np.zeros((SIDE, SIDE)))
    return root / "train"


def volume(root: Path) -> Path:
    """A stack in the place of an image."""
    file = root / "train" / "images" / "0.tif"
    (root / "train" / "images" / "0.jpg").unlink()
    tifffile.imwrite(file, np.ones((4, SIDE, SIDE), np.uint8), photometric="minisblack")
    return root


def five_bands(root: Path) -> Path:
    for split in ("train", "val", "test"):
        for index in range(2):
            (root / split / "images" / f"{index}.jpg").unlink()
            pixels = np.random.default_rng(index).integers(1, 200, (5, SIDE, SIDE)).astype(np.uint8)
            file = root / split / "images" / f"{index}.tif"
            tifffile.imwrite(file, pixels, planarconfig="separate", photometric="minisblack")
    return root / "train" / "images" / "0.tif"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_split, "no such folder"),
        (remove_mask, "has no mask"),
        (remove_image, "has no image"),
        (empty_folder, "holds no image file"),
        (other_size, "is 33 x 32 pixels"),
        (broken_image, "cannot be read as an image"),
        (not_an_image, "cannot be read as an image"),
        (small_image, "smaller than the training crops of 32 x 32"),
        (volume, "holds volumes; the demo takes images"),
        (five_bands, "has 5 bands, takes 1 or 3"),
        (same_name, "shares its name"),
        (no_foreground, "no mask has a foreground"),
    ],
)
def test_bad_data_is_one_clear_error_before_training(
    dataset: Path,
    damage: Callable[[Path], Path],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    culprit = damage(dataset)
    monkeypatch.setattr("benchmarks.demo.__main__.run_all", None)  # training would raise
    options = ["--data", str(dataset), "--crop-size", str(SIDE), "--out", str(dataset / "out")]
    assert main(options) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {culprit}")
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("--kernel-size", "4"), ("--seeds", "0"), ("--iterations", "x"), ("--crop-size", "40")],
)
def test_bad_options_are_named(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([option, value])
    error = capsys.readouterr().err
    assert option in error
    assert value in error


def test_synthetic_vessels_are_decided_by_the_seed() -> None:
    first, again, other = (vessels.vessels((seed,), 64) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first[1] != other[1]).any()


def test_synthetic_splits_share_no_image() -> None:
    data = vessels.synthetic_data_set(side=64, counts={"train": 2, "val": 2, "test": 2})
    images = [sample.image for samples in data.splits.values() for sample in samples]
    assert len({image.tobytes() for image in images}) == 6


@pytest.mark.parametrize("seed", range(3))
def test_synthetic_vessels_are_thin_few_and_faint(seed: int) -> None:
    image, truth = vessels.vessels((seed,), vessels.IMAGE_SIDE)
    inside, outside = image[truth], image[~truth]
    assert 0.01 < truth.mean() < 0.3
    assert component_count(truth, 8) <= 3  # whole trees: no gap in the truth
    assert 0.02 < outside.mean() - inside.mean() < 2 * outside.std()


def test_methods_start_from_the_same_weights_and_see_the_same_crops() -> None:
    data = vessels.synthetic_data_set(side=64, counts={"train": 3, "val": 1, "test": 1})
    preset = replace(PRESET, crop=(SIDE, SIDE))
    draws = [Crops(data.train, preset).draw(np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][0], draws[2][0])
    weights = [next(build_network(s, 2, 3, 2, PRESET.features).parameters()) for s in (5, 5, 6)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_segmentation_of_any_image_size() -> None:
    data = vessels.synthetic_data_set(side=64, counts={"train": 1, "val": 0, "test": 0})
    network = build_network(0, 2, 3, 2, PRESET.features)
    image = data.train[0].image[:, :37, :51]
    assert training.segment(network, image, PRESET, torch.device("cpu")).shape == (37, 51)


@pytest.mark.parametrize("mode", ["off", "on", "joint"])  # a warm-up changes its loss
def test_training_lowers_the_loss(mode: str, tmp_path: Path) -> None:
    counts = {"train": 2, "val": 2, "test": 0}
    data = vessels.synthetic_data_set(side=64, counts=counts)
    preset = replace(PRESET, iterations=12, crop=(SIDE, SIDE), validations=3)
    loss = losses.build_loss("ce_dice", 2, 2, mode)
    seen: list[float] = []

    def remembered(*arguments: Any) -> torch.Tensor:
        value = loss(*arguments)
        seen.append(value.item())
        return value

    cpu, file = torch.device("cpu"), tmp_path / "checkpoint.pt"
    trained = training.train(remembered, data, preset, 0, cpu, file, lambda _: None)
    assert len(seen) == 12
    assert np.mean(seen[-4:]) < np.mean(seen[:4])
    assert [point["iteration"] for point in trained.curve] == [4, 8, 12]
    assert all("betti0_error" in point for point in trained.curve)


def test_the_demo_from_end_to_end(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two iterations find next to nothing, and a collapsed training has no figures.
    monkeypatch.setattr(collapse, "NEXT_TO_NOTHING", -1)
    out = dataset.parent / "new" / "out"
    options = ["--data", str(dataset), "--out", str(out), "--crop-size", str(SIDE)]
    assert main([*options, "--iterations", "2", "--seeds", "2"]) == 0
    lines = [re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines()]
    for method in METHODS:
        assert [line[1] for line in lines if line[0] == method] == ["0", "1", "mean"]
    assert sorted(file.name for file in out.iterdir()) == [
        "picture.png",
        "scores.csv",
        "summary.csv",
    ]
    with (out / "scores.csv").open() as file:
        scores = list(csv.DictReader(file))
    rows = {(row["loss"], row["scnp"], row["seed"], row["image"]) for row in scores}
    assert rows == {
        ("ce_dice", m, s, image) for m in ("off", "on", "joint") for s in "01" for image in "01"
    }
    with (out / "summary.csv").open() as file:
        summary = {(row["method"], row["seed"]): row for row in csv.DictReader(file)}
    of_joint = [float(row["dice"]) for row in scores if row["scnp"] == "joint"]
    assert float(summary[JOINT, "mean"]["dice"]) == pytest.approx(np.mean(of_joint), abs=1e-5)
    with Image.open(out / "picture.png") as drawn:
        assert min(drawn.size) > 800
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 50


def test_synthetic_images_are_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = vessels.synthetic_data_set(side=SIDE, counts={"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr("benchmarks.demo.__main__.synthetic_data_set", lambda: few)
    assert main(["--iterations", "1", "--crop-size", str(SIDE), "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "SYNTHETIC" in output
    assert f"{METHODS[1]} " in output
    assert "synthetic" in few.name


def test_the_verdict_compares_with_the_plain_loss() -> None:
    summaries = [
        report.Summary(PLAIN, "0", 0.9, 4.0, 0.9, 1.0),
        report.Summary(SCNP, "0", 0.89, 2.0, 0.9, 1.0),
        report.Summary(JOINT, "0", 0.91, 5.0, 0.9, 1.0),
    ]
    verdict = report.verdict(summaries)
    assert f"{SCNP}: Betti-0 error -50 %, Dice -0.0100" in verdict
    assert f"{JOINT}: Betti-0 error +25 %, Dice +0.0100" in verdict


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail_halfway(target: Path) -> None:
        with written_whole(target) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    target = tmp_path / "table.csv"
    target.write_text("the last good one")
    with pytest.raises(OSError, match="disk full"):
        fail_halfway(target)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert target.read_text() == "the last good one"
