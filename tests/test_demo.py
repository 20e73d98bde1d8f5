"""The demo: its measures, its data and the files that it writes."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.common import panels
from benchmarks.common.files import written_whole
from benchmarks.common.images import BoolMask
from benchmarks.common.marks import Marks, find_marks
from benchmarks.demo import comparison, data, measures, report, training, vessels
from benchmarks.demo.__main__ import main
from benchmarks.demo.methods import JOINT, METHODS, PLAIN, SCNP, build_loss
from benchmarks.demo.network import build_network

SIDE = 32


def mask(*rows: str) -> BoolMask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_a_diagonal_step_connects() -> None:
    assert measures.component_count(mask("#..", ".#.", "..#")) == 1


def test_a_gap_of_one_pixel_separates() -> None:
    assert measures.component_count(mask("#.#", "#.#")) == 2


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (mask("#####", ".....", "....."), 0),
        (mask("##.##", ".....", "....."), 1),  # one break
        (mask("#.#.#", ".....", "#...#"), 4),
        (mask(".....", ".....", "....."), 1),  # too few counts as too many does
    ],
)
def test_betti0_error(prediction: BoolMask, expected: int) -> None:
    assert measures.betti0_error(prediction, mask("#####", ".....", ".....")) == expected


def test_dice() -> None:
    assert measures.dice(mask("##.."), mask(".##.")) == pytest.approx(0.5)
    assert measures.dice(mask("...."), mask("....")) == 1.0
    assert measures.dice(mask("...."), mask(".#..")) == 0.0


def test_cldice_of_a_half_drawn_line() -> None:
    # All of the predicted centreline is true, half of the true one is found: 2 * 1 * .5 / 1.5.
    line, half = np.zeros((9, 20), np.bool_), np.zeros((9, 20), np.bool_)
    line[4, :] = True
    half[4, :10] = True
    assert measures.cldice(half, line) == pytest.approx(2 / 3)
    assert measures.cldice(line, line) == 1.0


def test_cldice_of_empty_masks() -> None:
    empty, line = np.zeros((5, 9), np.bool_), mask("." * 9, "#" * 9, "." * 9, "." * 9, "." * 9)
    assert measures.cldice(empty, empty) == 1.0
    assert measures.cldice(empty, line) == 0.0
    assert measures.cldice(line, empty) == 0.0


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
    difference = measures.component_count(prediction) - measures.component_count(truth)
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
    root = tmp_path / "bars"
    for number, split in enumerate(("train", "val", "test")):
        for index in range(2):
            sample = vessels.vessel_sample("", (number, index), SIDE)
            save(root / split / "images" / f"{index}.jpg", sample.image * 255)
            save(root / split / "masks" / f"{index}.png", sample.truth)
    return root


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def test_a_folder_is_read(dataset: Path) -> None:
    splits = data.read_folder(dataset, SIDE)
    assert [sample.name for sample in splits.test] == ["0", "1"]
    expected = vessels.vessel_sample("", (2, 1), SIDE)
    assert splits.title == "bars"
    assert splits.test[1].truth.tolist() == expected.truth.tolist()  # a 1 in the mask is enough
    np.testing.assert_allclose(splits.test[1].image, expected.image, atol=0.1)  # JPEG


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1", "I;16"])
def test_every_kind_of_image_file_reads_alike(dataset: Path, mode: str) -> None:
    grey = np.tile(np.array([0, 255], np.uint8), (SIDE, SIDE // 2))
    image = Image.fromarray(grey)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for folder in ("images", "masks"):
        (dataset / "val" / folder / "2.png").unlink(missing_ok=True)
        (deep if mode == "I;16" else image.convert(mode)).save(dataset / "val" / folder / "2.png")
    sample = data.read_folder(dataset, SIDE).val[2]
    assert sample.image.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(sample.image[:, :, 1], grey / 255)
    np.testing.assert_array_equal(sample.truth, grey > 0)


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
    save(root / "val" / "images" / "0.jpg", np.ones((SIDE, SIDE - 1)))
    save(root / "val" / "masks" / "0.png", np.ones((SIDE, SIDE - 1)))
    return root / "val" / "images" / "0.jpg"


def same_name(root: Path) -> Path:
    save(root / "val" / "images" / "0.png", np.ones((SIDE, SIDE)))
    return root / "val" / "images" / "0.png"


def no_foreground(root: Path) -> Path:
    for index in range(2):
        save(root / "train" / "masks" / f"{index}.png", np.zeros((SIDE, SIDE)))
    return root / "train" / "masks"


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
    monkeypatch.setattr("benchmarks.demo.__main__.compare", None)  # training would raise
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
    first, again, other = (vessels.vessel_sample("", (seed,), 64) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert (first.truth != other.truth).any()


def test_synthetic_splits_share_no_image() -> None:
    counts = {"train": 2, "val": 2, "test": 2}
    splits = vessels.synthetic_splits(side=64, counts=counts)
    samples = splits.train + splits.val + splits.test
    assert len({sample.image.tobytes() for sample in samples}) == 6


@pytest.mark.parametrize("seed", range(3))
def test_synthetic_vessels_are_thin_few_and_faint(seed: int) -> None:
    sample = vessels.vessel_sample("", (seed,), vessels.IMAGE_SIDE)
    inside, outside = sample.image[sample.truth], sample.image[~sample.truth]
    assert 0.01 < sample.truth.mean() < 0.3
    assert measures.component_count(sample.truth) <= 3  # whole trees: no gap in the truth
    assert 0.02 < outside.mean() - inside.mean() < 2 * outside.std()


def test_methods_start_from_the_same_weights_and_see_the_same_crops() -> None:
    samples = [vessels.vessel_sample("", (seed,), 64) for seed in range(3)]
    recipe = training.Recipe(crop_size=SIDE)
    images = [training.standardise(sample.image) for sample in samples]
    draws = [
        training.draw_crops(images, samples, recipe, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    ]
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][0], draws[2][0])
    weights = [next(build_network(seed).parameters()) for seed in (5, 5, 6)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_crops_keep_image_and_label_together() -> None:
    sample = vessels.vessel_sample("", (0,), 64)
    image = torch.from_numpy(sample.truth).float().expand(3, -1, -1)  # the image is its label
    recipe = training.Recipe(crop_size=SIDE, batch_size=16)
    crops, labels = training.draw_crops([image], [sample], recipe, np.random.default_rng(0))
    assert crops.shape == (16, 3, SIDE, SIDE)
    assert torch.equal(crops[:, :1].long(), labels)
    assert labels.any()


def test_the_losses_are_the_three_that_are_compared() -> None:
    logits = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    target[..., 2:5] = 1
    plain, on_scnp, joint = (build_loss(method, 3)(logits, target) for method in METHODS)
    assert on_scnp > plain  # SCNP can only worsen a logit
    torch.testing.assert_close(joint, plain + on_scnp)


def test_segmentation_of_any_image_size() -> None:
    image = vessels.vessel_sample("", (0,), 64).image[:37, :51]
    assert training.segment(build_network(0), image).shape == (37, 51)


def test_training_lowers_the_loss() -> None:
    samples = [vessels.vessel_sample("", (seed,), 64) for seed in range(2)]
    losses: list[float] = []
    recipe = training.Recipe(iterations=12, crop_size=SIDE, validations=3)
    trained = training.train(build_loss(JOINT, 3), samples, samples, recipe, 0, losses.append)
    assert len(losses) == 12
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert trained.curve.iterations == [4, 8, 12]
    assert len(trained.curve.betti0_error) == 3


def test_the_demo_from_end_to_end(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    rows = {(row["method"], row["seed"], row["image"]) for row in scores}
    assert rows == {(m, s, image) for m in METHODS for s in "01" for image in "01"}
    with (out / "summary.csv").open() as file:
        summary = {(row["method"], row["seed"]): row for row in csv.DictReader(file)}
    of_joint = [float(row["dice"]) for row in scores if row["method"] == JOINT]
    assert float(summary[JOINT, "mean"]["dice"]) == pytest.approx(np.mean(of_joint), abs=1e-5)
    with Image.open(out / "picture.png") as drawn:
        assert min(drawn.size) > 800
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 50


def test_synthetic_images_are_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = vessels.synthetic_splits(side=SIDE, counts={"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr("benchmarks.demo.__main__.synthetic_splits", lambda: few)
    assert main(["--iterations", "1", "--crop-size", str(SIDE), "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "SYNTHETIC" in output
    assert f"{METHODS[1]} " in output
    assert "synthetic" in few.title


def test_the_verdict_compares_with_the_plain_loss() -> None:
    summaries = [
        report.Summary(PLAIN, "0", 0.9, 4.0, 0.9, 1.0),
        report.Summary(SCNP, "0", 0.89, 2.0, 0.9, 1.0),
        report.Summary(JOINT, "0", 0.91, 5.0, 0.9, 1.0),
    ]
    verdict = report.verdict(summaries)
    assert f"{SCNP}: Betti-0 error -50 %, Dice -0.0100" in verdict
    assert f"{JOINT}: Betti-0 error +25 %, Dice +0.0100" in verdict


def test_the_most_telling_image_is_where_scnp_helps_most() -> None:
    def run(method: str, *errors: int) -> comparison.Run:
        scores = [comparison.Score(str(i), 1.0, e, 1.0) for i, e in enumerate(errors)]
        return comparison.Run(method, 0, 1.0, training.Curve(), [], scores)

    assert comparison.most_telling([run(PLAIN, 9, 5), run(SCNP, 8, 1), run(JOINT, 8, 0)]) == 1


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
