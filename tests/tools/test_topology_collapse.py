"""Promise: a training that found nothing, or everything, is named and hidden in no mean."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo import publish, report
from benchmarks.demo.__main__ import main as demo
from benchmarks.topology import runner
from benchmarks.topology.collapse import collapse, count_pixels
from benchmarks.topology.datasets import Planes
from benchmarks.topology.records import RUN
from benchmarks.topology.results import Method, read_results
from tests.topology_data import (
    SIDE,
    command,
    failing,
    figures_of,
    is_picture,
    made_up_runs,
    run_arguments,
    save,
    write_images,
)

IMAGES = 8
NOTHING, EVERYTHING = 0, 1  # the label that is predicted everywhere
PLAIN, ON = Method("ce_dice", "off", (1,)), Method("ce_dice", "on", (3,))
# SCNP looks better by far in both seeds, and found nothing in the second.
ERRORS = {
    ("off", 0): [5.0] * IMAGES,
    ("off", 1): [7.0] * IMAGES,
    ("on", 0): [2.0] * IMAGES,
    ("on", 1): [1.0] * IMAGES,
    ("joint", 0): [3.0] * IMAGES,
    ("joint", 1): [3.0] * IMAGES,
}
ONE_FAILED = {("on", 1): NOTHING}
SENTENCE = (
    "made_up: 1 of 6 trainings collapsed, which is a failure and no score: "
    "CE+Dice, SCNP, w = 3, seed 1 found nothing on test."
)
ALL_FAILED = dict.fromkeys(ERRORS, EVERYTHING)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def all_background(image: Planes) -> Planes:
    """The probabilities [2, *spatial] of a network that finds nothing."""
    return np.stack([np.ones(image.shape[1:], np.float32), np.zeros(image.shape[1:], np.float32)])


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        ([9_990, 10], [9_000, 1_000], "nothing"),  # 1 %
        ([9_989, 11], [9_000, 1_000], ""),
        ([90, 9_910], [9_000, 1_000], "everything"),
        ([91, 9_909], [9_000, 1_000], ""),
        ([100, 0], [100, 0], ""),  # there is nothing to be found
        ([0, 100], [0, 100], ""),
        ([90, 0, 10], [80, 10, 10], "nothing of class 1"),
        ([100, 0, 0, 0], [70, 10, 0, 20], "nothing"),
        ([90, 10, 0, 0], [70, 10, 10, 10], "nothing of class 2, 3"),
        ([0, 100, 0], [80, 10, 10], "everything"),
    ],
)
def test_the_rule(found: list[int], true: list[int], expected: str) -> None:
    assert collapse(found, true) == expected


def test_pixels_are_counted_over_all_images_of_a_split() -> None:
    random = np.random.default_rng(0)
    shapes = {"test/0": (5, 7), "test/1": (3, 4), "ood/0": (6, 6)}
    truth, predictions = (
        {key: random.integers(0, 3, shape).astype(np.uint8) for key, shape in shapes.items()}
        for _ in range(2)
    )
    pixels = count_pixels(predictions, truth, 3)
    assert sorted(pixels) == ["ood", "test"]
    for maps, counts in zip((predictions, truth), pixels["test"], strict=True):
        flat = [*maps["test/0"].ravel().tolist(), *maps["test/1"].ravel().tolist()]
        assert counts == [flat.count(label) for label in range(3)]


def test_a_run_stores_what_it_found_and_its_last_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "bars")
    monkeypatch.setattr(
        runner, "class_probabilities", lambda _net, image, *_: all_background(image)
    )
    options = ("--scnp", "off,on", "--seeds", 2, "--iterations", 1, "--validations", 1)
    arguments = run_arguments(data, tmp_path / "out", *options)
    command(*arguments)
    *_, last = lines = capsys.readouterr().err.splitlines()
    assert last == (
        "bars: 4 of 4 trainings collapsed, which is a failure and no score: CE+Dice, plain, seeds "
        "0, 1 found nothing on test; CE+Dice, SCNP, w = 3, seeds 0, 1 found nothing on test."
    )
    assert any(line.startswith("ce_dice-off-seed0: COLLAPSED, found nothing") for line in lines)
    stored = json.loads((tmp_path / "out/bars/runs/ce_dice-off-seed0" / RUN).read_text())
    found, true = stored["pixels"]["test"]
    assert found == [2 * SIDE * SIDE, 0]
    assert sum(true) == 2 * SIDE * SIDE
    assert true[1] > 0
    command(*arguments)  # nothing is left to do, and it is said again
    assert last_line(capsys) == last


def test_a_sound_run_is_not_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up_runs(tmp_path, ERRORS)
    for name in ("benchmark", "ablation", "convergence", "summary"):
        command(name, tmp_path)
    assert "collapsed, which" not in capsys.readouterr().err
    for file in (*folder.glob("*.md"), *tmp_path.glob("*.md")):
        assert "collapsed, which" not in file.read_text()


def test_means_are_of_sound_seeds_and_a_method_with_a_failed_one_has_no_p(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, ERRORS, ONE_FAILED)
    command("benchmark", tmp_path)
    plain, on, joint = rows_of(folder / "benchmark-test.csv")
    assert on["seeds"] == "1 of 2 seeds found nothing"
    assert (on["Betti-0 error"], on["p (Betti-0 error)"]) == ("2.00", "")
    assert (plain["seeds"], plain["Betti-0 error"]) == ("2", "6.00 ± 1.41")
    assert (joint["seeds"], joint["p (Betti-0 error)"]) == ("2", "0.0078")
    assert joint["Betti-0 error"] == "**3.00 ± 0.00**"


def test_nothing_is_compared_with_a_plain_loss_that_failed(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, ERRORS, {("off", 1): EVERYTHING})
    command("benchmark", tmp_path)
    command("ablation", tmp_path)
    plain, on, joint = rows_of(folder / "benchmark-test.csv")
    assert (plain["seeds"], plain["Betti-0 error"]) == ("1 of 2 seeds found everything", "5.00")
    assert (on["Betti-0 error"], joint["Betti-0 error"]) == ("1.50 ± 0.71", "3.00 ± 0.00")
    assert on["p (Betti-0 error)"] == joint["p (Betti-0 error)"] == ""
    changes = rows_of(tmp_path / "ablation.csv")
    assert {row["seeds"] for row in changes} == {"plain: 1 of 2 seeds found everything"}
    assert {row["Betti-0 error: change"] for row in changes} == {""}


def test_a_method_without_a_sound_seed_has_a_row_without_figures(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, ERRORS, {("on", 0): NOTHING, ("on", 1): EVERYTHING})
    for name in ("benchmark", "ablation", "convergence"):
        command(name, tmp_path)
    told = "1 of 2 seeds found nothing, 1 of 2 seeds found everything"
    for file in (
        *(folder / f"{name}.csv" for name in ("benchmark-test", "convergence-ce_dice")),
        tmp_path / "ablation.csv",
    ):
        rows = [row for row in rows_of(file) if row["SCNP"] == "SCNP"]
        for row in rows:
            titled = {name: text for name, text in row.items() if "Dice" in name or "0 err" in name}
            assert row["seeds"] == told
            assert set(titled.values()) == {""}, file
        assert rows
        assert is_picture(file.with_suffix(".png"))


def test_a_split_where_a_run_failed_says_nothing_of_another(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, ERRORS, tests=["test", "test_ood"])
    for run in (folder / "runs").iterdir():
        rows = (run / "scores.csv").read_text()
        more = rows.replace("test,", "test_ood,").splitlines()[1:]
        (run / "scores.csv").write_text("\n".join([*rows.splitlines(), *more]))
        stored = json.loads((run / RUN).read_text())
        found, true = stored["pixels"]["test"]
        failed = run.name == "ce_dice-on-w3-seed1"
        stored["pixels"]["test_ood"] = [[sum(true), 0] if failed else found, true]
        (run / RUN).write_text(json.dumps(stored))
    command("benchmark", tmp_path)
    seeds = [rows_of(folder / f"benchmark-{s}.csv")[1]["seeds"] for s in ("test", "test_ood")]
    assert seeds == ["2", "1 of 2 seeds found nothing"]
    assert "seed 1 found nothing on test_ood." in (folder / "benchmark-test.md").read_text()


def test_runs_of_earlier_versions_are_judged_by_their_predictions(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, ERRORS, ONE_FAILED)
    for file in folder.glob(f"runs/*/{RUN}"):
        stored = json.loads(file.read_text())
        del stored["pixels"]
        file.write_text(json.dumps(stored))
    assert read_results(folder).warning == SENTENCE
    assert read_results(folder).collapsed(ON, "test") == {1: "nothing"}


@pytest.mark.parametrize(
    "pixels", [{}, [], "none", {"test": [[1, 2]]}, {"test": [[1, 2], [3]]}, {"test": [1, 2]}]
)
def test_damaged_pixels_are_named(
    pixels: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = made_up_runs(tmp_path, ERRORS) / "runs" / "ce_dice-off-seed0" / RUN
    file.write_text(json.dumps({**json.loads(file.read_text()), "pixels": pixels}))
    assert failing(capsys, "benchmark", tmp_path).startswith(f"error: {file}: ")


def add_window(folder: Path) -> None:
    """A second window for `sensitivity`, as good as the first."""
    for seed in (0, 1):
        run, copy = (folder / "runs" / f"ce_dice-on-w{side}-seed{seed}" for side in (3, 5))
        shutil.copytree(run, copy)
        stored = json.loads((run / RUN).read_text())
        (copy / RUN).write_text(json.dumps({**stored, "kernel_size": [5]}))


@pytest.mark.parametrize("failed", [ONE_FAILED, ALL_FAILED], ids=["one", "all"])
@pytest.mark.parametrize(
    ("name", "report_file"),
    [
        ("benchmark", "made_up/benchmark-test.md"),
        ("ablation", "ablation.md"),
        ("convergence", "made_up/convergence-ce_dice.md"),
        ("sensitivity", "made_up/sensitivity-ce_dice.md"),
        ("summary", "README.md"),
        ("qualitative", None),
    ],
)
def test_every_report_begins_and_ends_with_the_failed_runs(
    failed: dict[tuple[str, int], int],
    name: str,
    report_file: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = figures_of(monkeypatch)
    add_window(made_up_runs(tmp_path, ERRORS, failed))
    data: list[object] = []
    if name == "qualitative":
        data = ["--data", tmp_path / "data" / "made_up", "--seed", 1]
        for index, kind in ((i, k) for i in range(IMAGES) for k in ("images", "masks")):
            save(tmp_path / "data/made_up/test" / kind / f"{index}.png", np.eye(8) * 200)
    command(name, tmp_path, *data)
    sentence = read_results(tmp_path / "made_up").warning
    assert "SCNP, w = 3, seed" in sentence
    assert last_line(capsys) == sentence
    if report_file is not None:
        parts = (tmp_path / report_file).read_text().split("\n\n")
        assert parts[1 if name == "summary" else 0] == sentence  # after the summary's heading
    for figure in drawn:
        assert " ".join(sentence.split()) in " ".join(figure.get_suptitle().split())
    assert len(drawn) == (0 if name == "summary" else 1)


def test_a_panel_says_that_its_run_found_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = figures_of(monkeypatch)
    made_up_runs(tmp_path, ERRORS, ONE_FAILED)
    for index, kind in ((i, k) for i in range(IMAGES) for k in ("images", "masks")):
        save(tmp_path / "data/made_up/test" / kind / f"{index}.png", np.eye(8) * 200)
    command("qualitative", tmp_path, "--data", tmp_path / "data/made_up", "--seed", 1)
    plain, on, joint = drawn[0].axes[-3:]
    assert on.get_title() == "CE+Dice, SCNP: found nothing"
    assert "1 of 2 seeds found nothing" in on.get_xlabel()
    assert "Dice 1.000" in plain.get_title()
    assert "2 seeds" in joint.get_xlabel()


def test_the_summary_compares_no_method_of_which_a_training_failed(tmp_path: Path) -> None:
    made_up_runs(tmp_path, ERRORS, ONE_FAILED)
    front = tmp_path / "front.md"
    edges = [f"<!-- benchmark:topology-made_up {edge} -->" for edge in ("begin", "end")]
    front.write_text("\n".join(edges))
    command("summary", tmp_path, "--readme", front)
    text = (tmp_path / "README.md").read_text()
    assert "- SCNP: not compared, since trainings collapsed: CE+Dice.\n" in text
    assert "- joint: lower Betti-0 error with CE+Dice (-3.00, -50 %, 2 seeds)" in text
    assert SENTENCE in front.read_text()
    assert "| CE+Dice, SCNP, w = 3 | 1 of 2 seeds found nothing |" in front.read_text()


def test_the_last_line_names_the_runs_of_every_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_runs(tmp_path, ERRORS, ONE_FAILED).rename(tmp_path / "another")
    made_up_runs(tmp_path, ERRORS, ONE_FAILED)
    command("ablation", tmp_path)
    both = f"{SENTENCE.replace('made_up', 'another')} {SENTENCE}"
    assert last_line(capsys) == both
    assert (tmp_path / "ablation.md").read_text().startswith(both)


def test_the_demo_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "bars")
    monkeypatch.setattr(
        runner, "class_probabilities", lambda _net, image, *_: all_background(image)
    )
    options = ("--data", data, "--out", tmp_path / "out", "--crop-size", SIDE, "--iterations", 1)
    assert demo([str(option) for option in (*options, "--seeds", 2)]) == 0
    written = capsys.readouterr()
    sentence = written.err.splitlines()[-1]
    assert sentence.startswith("bars: 6 of 6 trainings collapsed, which is a failure")
    assert written.out.index(sentence) < written.out.index("method  ")
    assert "CE+Dice, joint, w = 3: not compared, since trainings collapsed" in written.out
    rows = rows_of(tmp_path / "out" / "summary.csv")
    assert {row["collapse"] for row in rows} == {"found nothing", "2 of 2 seeds found nothing"}
    assert {row["dice"] for row in rows} == {""}
    assert "| CE+Dice, plain | 0 (found nothing) |  |  |  |" in publish.markdown_table(rows)


def test_the_demos_mean_is_of_sound_seeds(tmp_path: Path) -> None:
    settings = {"measures": ["dice", "betti0_error", "cldice"]}
    folder = made_up_runs(tmp_path, ERRORS, ONE_FAILED, **settings)
    for file in folder.glob("runs/*/scores.csv"):
        lines = file.read_text().splitlines()
        file.write_text("\n".join([f"{lines[0]},cldice", *(f"{line},0.5" for line in lines[1:])]))
    summaries = report.summarise(read_results(folder))
    mean = next(s for s in summaries if s.method == ON.title and s.seed == report.MEAN)
    assert (mean.betti0_error, mean.collapse) == (2.0, "1 of 2 seeds found nothing")
    lines = report.table(summaries).splitlines()
    assert any(line.endswith("s  found nothing") and "nan" not in line for line in lines)
    verdict = report.verdict(summaries)
    assert f"{ON.title}: not compared, since trainings collapsed" in verdict
    assert "joint, w = 3: Betti-0 error -50 %" in verdict
