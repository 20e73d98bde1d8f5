"""The topology benchmark's reports: tables against the rows that they stand for, and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.topology import benchmark, convergence, qualitative, sensitivity
from benchmarks.topology.benchmark import Cell, verdict
from benchmarks.topology.configuration import RunKey
from benchmarks.topology.datasets import Planes
from benchmarks.topology.records import PREDICTIONS, truths, write_label_maps
from benchmarks.topology.results import Method, common_window, read_results
from benchmarks.topology.statistics import permutation_test
from tests.topology_data import (
    TOY,
    command,
    failing,
    figures_of,
    is_picture,
    made_up_runs,
    predicted_runs,
    rows_of,
    write_images,
    write_volumes,
)

IMAGES = 8
PLAIN, ON = Method("ce_dice", "off", (1,)), Method("ce_dice", "on", (3,))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of real runs on a toy data set: two losses, all modes, two windows, two seeds."""
    root = tmp_path_factory.mktemp("trained")
    write_images(root / "bars")
    command(
        *("run", "--data", root / "bars", "--out", root / "out", *TOY, "--iterations", 2),
        *("--losses", "ce,ce_dice", "--kernel-size", "3,5", "--seeds", 2),
    )
    return root


@pytest.mark.parametrize(
    ("name", "arguments", "file"),
    [
        ("benchmark", (), "bars/benchmark-test"),
        ("ablation", (), "ablation"),
        ("convergence", (), "bars/convergence-ce_dice"),
        ("convergence", ("--loss", "ce"), "bars/convergence-ce"),
        ("sensitivity", (), "bars/sensitivity-ce_dice"),
    ],
)
def test_every_report_writes_a_table_and_a_picture(
    trained: Path, tmp_path: Path, name: str, arguments: tuple[str, ...], file: str
) -> None:
    command(name, trained / "out", "--to", tmp_path, *arguments)
    assert (tmp_path / f"{file}.md").read_text().count("\n|") >= 3
    assert rows_of(tmp_path / f"{file}.csv")
    assert is_picture(tmp_path / f"{file}.png")


def test_every_window_is_named_on_the_axis(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = figures_of(monkeypatch)
    results = read_results(trained / "out" / "bars")
    wide_and_joint = [m for m in results.methods() if m.mode != "joint" or m.window == (3,)]
    sensitivity.draw(results, wide_and_joint, 4.0, tmp_path / "picture.png")
    assert all(axes.get_xticks().tolist() == [3, 5] for axes in drawn[0].axes)


def test_summary(trained: Path, tmp_path: Path) -> None:
    command("summary", trained / "out", "--to", tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "## bars" in text
    assert (
        "28 trainings of 2 iterations" in text
    )  # 2 seeds of 2 losses: off; on, joint and warm-up with 3, 5
    for name in ("scores.csv", "curves.csv", "configuration.json"):
        assert (tmp_path / "bars" / name).read_bytes() == (
            trained / "out" / "bars" / name
        ).read_bytes()


def test_the_summary_says_where_scnp_does_not_help(tmp_path: Path) -> None:
    errors = {("off", 0): [2.0] * IMAGES, ("on", 0): [5.0] * IMAGES, ("joint", 0): [1.0] * IMAGES}
    made_up_runs(tmp_path, errors)
    command("summary", tmp_path)
    text = (tmp_path / "README.md").read_text()
    readme = tmp_path / "front.md"
    edges = [f"<!-- benchmark:topology-made_up {edge} -->" for edge in ("begin", "end")]
    readme.write_text("\n".join(edges))
    command("summary", tmp_path, "--readme", readme)
    assert "| CE+Dice, SCNP, w = 3 | 1 | 0.5000 | 1.0000 | _5.00_ | 0.0078 |" in readme.read_text()
    assert (
        "- SCNP: **higher** Betti-0 error with CE+Dice (+3.00, +150 %, 1 seed); Dice falls" in text
    )
    assert "- joint: lower Betti-0 error with CE+Dice (-1.00, -50 %, 1 seed)" in text


def test_qualitative_picture(trained: Path, tmp_path: Path) -> None:
    data = trained / "bars"
    command("qualitative", trained / "out", "--data", data, "--to", tmp_path, "--image", "1")
    assert is_picture(tmp_path / "bars" / "qualitative-ce_dice.png")


def test_qualitative_shows_where_scnp_helps_most(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, {("off", 0): [1.0] * 3, ("on", 0): [0.0] * 3})
    maps = truths(folder)
    broken = maps["test/1"].copy()
    broken[3, 3] = 0
    file = folder / "runs" / "ce_dice-off-seed0" / PREDICTIONS
    write_label_maps(file, {**maps, "test/1": broken})
    asked: list[str] = []

    def pixels_of(_split: str, name: str) -> Planes:
        asked.append(name)
        return np.zeros((1, 8, 8), np.float32)

    results = read_results(folder)
    qualitative.draw(results, results.methods(), 0, None, pixels_of, tmp_path / "picture.png")
    assert asked == ["1"]
    assert is_picture(tmp_path / "picture.png")


def test_qualitative_picture_of_a_volume(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "plates")
    out = tmp_path / "out"
    toy = (*TOY, "--iterations", 1, "--validations", 1, "--seeds", 1)
    command("run", "--data", data, "--out", out, *toy, "--scnp", "off,on")
    command("qualitative", out, "--data", data)
    assert is_picture(out / "plates" / "qualitative-ce_dice.png")


def test_the_test_is_over_images_averaged_over_common_seeds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    errors = {
        (mode, seed): (random.integers(0, 5, IMAGES) + (3 if mode == "off" else 0)).tolist()
        for mode, seed in (("off", 0), ("off", 1), ("off", 2), ("on", 0), ("on", 2))
    }
    results = read_results(made_up_runs(tmp_path, errors))
    cell = benchmark.cell(results, ON, "test", "betti0_error")
    of_mode = {mode: np.mean([errors[mode, 0], errors[mode, 2]], axis=0) for mode in ("off", "on")}
    assert cell.p_value == permutation_test(of_mode["on"], of_mode["off"])
    assert cell.difference == pytest.approx(of_mode["on"].mean() - of_mode["off"].mean())
    seeds = [np.mean(errors["on", seed]) for seed in (0, 2)]
    assert cell.mean == pytest.approx(np.mean(seeds))
    assert cell.deviation == pytest.approx(np.std(seeds, ddof=1))
    plain = benchmark.cell(results, PLAIN, "test", "betti0_error")
    assert plain.p_value is None
    assert plain.mean == pytest.approx(np.mean([errors["off", seed] for seed in range(3)]))


def test_the_table_says_what_is_better_and_how_many_seeds(tmp_path: Path) -> None:
    errors = {("off", 0): [5.0] * IMAGES, ("off", 1): [5.0] * IMAGES, ("on", 0): [2.0] * IMAGES}
    folder = made_up_runs(tmp_path, errors)
    command("benchmark", tmp_path)
    plain, with_scnp = rows_of(folder / "benchmark-test.csv")
    assert (plain["seeds"], with_scnp["seeds"]) == ("2", "1")
    assert plain["Betti-0 error"] == "5.00 ± 0.00"
    assert with_scnp["Betti-0 error"] == "**2.00**"  # one seed has no deviation
    assert with_scnp["p (Betti-0 error)"] == "0.0078"  # 2 of 2^8
    assert "joint" not in (folder / "benchmark-test.md").read_text()


def test_too_few_images_are_told(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, {("off", 0): [3.0] * 4, ("on", 0): [1.0] * 4})
    command("benchmark", tmp_path)
    assert "below 0.125" in (folder / "benchmark-test.md").read_text()
    assert "**1.00**" not in (folder / "benchmark-test.md").read_text()


@pytest.mark.parametrize(
    ("measure", "difference", "p_value", "expected"),
    [
        ("betti0_error", -1.0, 0.01, "better"),
        ("betti0_error", 1.0, 0.01, "worse"),
        ("dice", -0.1, 0.01, "worse"),
        ("dice", 0.1, 0.01, "better"),
        ("dice", 0.1, 0.05, ""),
    ],
)
def test_verdict(measure: str, difference: float, p_value: float, expected: str) -> None:
    assert verdict(Cell(1.0, 0.1, p_value, difference), measure) == expected


def test_convergence_counts_iterations(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, {("off", 0): [1.0], ("off", 1): [2.0], ("on", 0): [0.0]})
    results = read_results(folder)
    iterations, errors = convergence.curve(results, PLAIN, "betti0_error")
    assert (iterations.tolist(), errors.tolist()) == ([10, 20, 30], [8.0, 7.0, 6.0])
    command("convergence", tmp_path)
    rows = rows_of(folder / "convergence-ce_dice.csv")
    assert [row["iterations to 99% of the last Dice"] for row in rows] == ["20", "20"]


@pytest.mark.parametrize("scale", [(9.0, 8.0), (0.0, 1.0), (400.0, 2.0)])
def test_errors_have_numbers_beside_them(
    scale: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = figures_of(monkeypatch)
    results = read_results(made_up_runs(tmp_path, {("off", 0): [1.0]}))
    errors = np.linspace(*scale, 3) + 2
    monkeypatch.setattr(convergence, "curve", lambda *_: (np.arange(3), errors))
    convergence.draw(results, [PLAIN], ["dice", "betti0_error"], tmp_path / "picture.png")
    axes = drawn[0].axes[1]
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2


def test_the_common_window_is_the_one_with_most_runs(tmp_path: Path) -> None:
    folder = made_up_runs(tmp_path, {("off", 0): [1.0], ("on", 0): [1.0], ("on", 1): [1.0]})
    results = read_results(folder)
    results.runs[Method("ce_dice", "on", (5,))] = {0: results.runs[ON][0]}
    assert common_window(results) == (3,)


@pytest.mark.parametrize("name", ["benchmark", "ablation", "convergence", "sensitivity"])
def test_reports_without_runs_say_so(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(tmp_path) in failing(capsys, name, tmp_path)


def test_reports_name_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up_runs(tmp_path, {("off", 0): [1.0]})
    assert "on the same seed" in failing(capsys, "ablation", tmp_path)
    assert "--kernel-size" in failing(capsys, "sensitivity", tmp_path)
    assert "--loss: got focal" in failing(capsys, "convergence", tmp_path, "--loss", "focal")
    error = failing(capsys, "qualitative", tmp_path, "--data", tmp_path / "made_up")
    assert "needs finished runs" in error


SECTIONS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 3}  # of a volume: how many pieces the plain loss has more


def volumes_with_false_pieces(folder: Path, collapsed: bool = False) -> Path:
    """A volume whose first two sections hold nothing; the plain loss finds most pieces there."""
    truth = np.zeros((5, 40, 40), np.uint8)
    truth[2:, 4:20, 4:20] = 1
    truth[3, 4:30, 4:20] = 1
    good = np.where(truth == 1, 0.9, 0.1)
    plain = good.copy()
    for section, pieces in SECTIONS.items():
        for piece in range(pieces if section > 1 else 5):
            plain[section, 34:38, 6 * piece : 6 * piece + 3] = 0.9
    runs = {RunKey("ce_dice", "off", (1,), 0): plain, RunKey("ce_dice", "on", (3,), 0): good}
    names = ("test/a", "val/a")
    return predicted_runs(
        folder,
        dict.fromkeys(names, truth),
        {
            key: dict.fromkeys(names, np.full_like(of, 0.1) if collapsed else of)
            for key, of in runs.items()
        },
    )


@pytest.mark.parametrize(
    ("usual", "collapsed", "section", "why"),
    [
        (False, False, 4, ", chosen because SCNP does best there beside the plain loss"),
        (True, False, 3, ", where SCNP changes the Betti-0 error by the median"),
        (False, True, 3, ""),
        (True, True, 3, ""),
    ],
)
def test_the_section_of_a_volume_shows_something(
    usual: bool,
    collapsed: bool,
    section: int,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None without a structure, where many false pieces count most and nothing is to be seen."""
    results = read_results(volumes_with_false_pieces(tmp_path / "tubes", collapsed))
    drawn = figures_of(monkeypatch)
    zeros = np.zeros((1, 5, 40, 40), np.float32)
    qualitative.draw(
        *(results, results.methods(), 0, None, lambda *_: zeros, tmp_path / "picture.png"),
        usual=usual,
    )
    heading = " ".join(drawn[0].get_suptitle().split())
    assert heading.startswith(f"tubes, seed 0: test image a, section {section}{why}")
    assert ("chosen" in heading, "median" in heading) == ("chosen" in why, "median" in why)
