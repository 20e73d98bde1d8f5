"""Promise: the verdict follows from its tables, from one command that goes on after a kill."""

from __future__ import annotations

import csv
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.common.html import page, table
from benchmarks.topology import postprocessing, search
from benchmarks.topology.comparisons import BASELINE
from benchmarks.topology.configuration import RunKey
from benchmarks.topology.datasets import DataSet, Sample
from benchmarks.topology.losses import MODES
from benchmarks.topology.results import Method, read_results
from benchmarks.topology.statistics import holm
from benchmarks.topology.structures import elongation
from benchmarks.topology.verdict import judge, keys
from scnp_kernels.metrics import betti_errors, betti_matching_error, cldice, dice
from tests.topology_data import (
    command,
    failing,
    figures_of,
    is_picture,
    write_referees_case,
)

OPTIONS = ("--one-process", "--losses", "cldice", "--seeds", 2)
ON, JOINT = Method("ce_dice", "on", (3,)), Method("ce_dice", "joint", (3,))
OTHER, OTHER_ON = Method("cldice", "off", (1,)), Method("cldice", "on", (3,))
COMPARED = len(MODES) - 1 + 2  # methods beside the baseline
NAMES = ("verdict-test.csv", "verdict-test.md", "verdict-test.json", "scores-test.csv")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module", autouse=True)
def few_candidates() -> Iterator[None]:
    """Eight, to save time: what the search finds among all of them has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocessing, "CUTS", postprocessing.CUTS[:2])
        patch.setattr(postprocessing, "RADII", (0, 1))
        patch.setattr(postprocessing, "SMALLEST", (0, 32))
        yield


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The --out of a verdict on runs that are all stored: none is trained; --data beside it."""
    data, out = write_referees_case(tmp_path_factory.mktemp("case"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.topology.runner._run_pool", lambda *_: pytest.fail("trains"))
        command("verdict", "--data", data, "--out", out, *OPTIONS)
    return out


def test_the_table_of_the_verdict(case: Path) -> None:
    rows = {row["method"]: row for row in rows_of(case / "lines" / "verdict-test.csv")}
    assert next(iter(rows)) == BASELINE.title
    methods = (BASELINE, ON, JOINT, OTHER, OTHER_ON)
    plain, on, joint, other, other_on = (rows[method.title] for method in methods)
    assert [row["Betti-matching error"] for row in (plain, on, joint, other, other_on)] == [
        "2.50",
        "**1.00**",
        "**0.00**",
        "_3.00_" if float(other["p (Holm)"]) < 0.05 else "3.00",
        "2.00",
    ]
    assert {row["post-processing"] for row in (plain, on, joint)} == {"no piece below 32 pixels"}
    assert other["post-processing"] == "none"
    assert plain["p"] == plain["difference [95 %]"] == ""
    assert on["p"] == joint["p"] == "0.0078"  # 2 of 2^8 swaps are as large
    assert on["difference [95 %]"].startswith("-1.50 [-1.")
    assert joint["change [95 %]"] == "-100 % [-100 %, -100 %]"


def test_the_corrected_p_values_are_those_of_all_rows(case: Path) -> None:
    stored = json.loads((case / "lines" / "verdict-test.json").read_text())
    for name, count in (("verdict", COMPARED), ("every comparison", COMPARED * 2 * 8)):
        found = stored[name]
        assert len(found) == count
        corrected = holm([row["p"] for row in found])
        assert [row["p_holm"] for row in found] == pytest.approx(corrected)
        for row in found:
            lower = row["difference"]["value"] < 0
            wanted = lower == (row["measure"] not in ("dice", "cldice"))
            expected = "" if row["p_holm"] >= 0.05 else "better" if wanted else "worse"
            assert row["outcome"] == expected


def test_scores_p_values_and_intervals_follow_from_the_predictions(case: Path) -> None:
    """From the stored maps, by the metrics and scipy themselves."""
    folder = case / "lines"
    found = json.loads((folder / "verdict-test.json").read_text())["every comparison"]
    images = range(8)
    truth = {image: np.load(folder / "truth.npz")[f"test/{image}"] == 1 for image in images}

    def scored(run: str, measure: str, neighbours: int | None) -> np.ndarray:
        measured: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
            "dice": dice,
            "cldice": cldice,
            "betti0_error": lambda p, t: betti_errors(p, t, connectivity=neighbours)[0],
            "betti1_error": lambda p, t: betti_errors(p, t, connectivity=neighbours)[1],
            "betti_matching_error": lambda p, t: betti_matching_error(
                p, t, connectivity=neighbours
            ),
        }
        means = []
        for image in images:
            of_seeds = [
                measured[measure](
                    np.load(folder / "runs" / f"{run}-seed{seed}" / "predictions.npz")[
                        f"test/{image}"
                    ]
                    == 1,
                    truth[image],
                )
                for seed in (0, 1)
            ]
            means.append(np.mean(of_seeds))
        return np.array(means)

    of_on = [row for row in found if row["method"] == ON.title and row["version"] == "as predicted"]
    assert len(of_on) == 8
    for row in of_on:
        own, plain = (
            scored(run, row["measure"], row["neighbours"])
            for run in ("ce_dice-on-w3", "ce_dice-off")
        )
        assert row["mean"] == pytest.approx(own.mean(), abs=1e-6)
        assert row["baseline"] == pytest.approx(plain.mean(), abs=1e-6)
        test = stats.permutation_test(
            ((own - plain).round(9),), np.mean, permutation_type="samples", n_resamples=10_000
        )
        assert row["p"] == pytest.approx(test.pvalue)
        low, high = row["difference"]["low"], row["difference"]["high"]
        if np.ptp(own - plain) > 1e-6:
            interval = stats.bootstrap(
                (own - plain,), np.mean, rng=np.random.default_rng(1)
            ).confidence_interval
            assert (low, high) == pytest.approx(interval, abs=0.15 * (high - low))


def test_the_sentence_follows_from_the_table(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (case / "lines" / "verdict-test.md").read_text()
    first = text.split("\n\n")[0]
    assert first.startswith(
        "lines, test (8 images), beside the plain baseline: significantly fewer topological "
        "mistakes with CE+Dice, SCNP, w = 3 (-60 %"
    )
    table_rows = {row["method"]: row for row in rows_of(case / "lines" / "verdict-test.csv")}
    other = table_rows["clDice, SCNP, w = 3"]
    assert float(other["p (Holm)"]) >= 0.05
    assert "no significant difference with" in first
    assert other["method"] in first.split("no significant difference with")[1]
    command("verdict", "--data", case.parent / "lines", "--out", case, *OPTIONS)
    written = capsys.readouterr().out.splitlines()
    assert written[-1] == str(case / "report.html")
    assert "fewer topological mistakes than the same loss without on 1 of 1 test set" in written[-2]
    assert "(lines test)" in written[-2]


def test_the_report_is_one_file_with_the_verdict_first(case: Path) -> None:
    text = (case / "report.html").read_text()
    body = text[text.index("<body>") :]
    assert body.index('class="verdict"') < body.index("<img") < body.index("<table")
    assert 'class="warning"' not in body
    for source in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert source.startswith("data:")
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    assert len(pictures) == 3  # the chart, the picture, the curves
    assert all(b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    for row in rows_of(case / "lines" / "verdict-test.csv"):
        assert row["p (Holm)"] in text
    assert is_picture(case / "verdict.png")
    assert is_picture(case / "lines" / "verdict-picture.png")


def test_what_other_commands_wrote_is_in_the_report(case: Path, tmp_path: Path) -> None:
    out = shutil.copytree(case, tmp_path / "out")
    command("benchmark", out)
    command("verdict", "--data", case.parent / "lines", "--out", out, *OPTIONS)
    text = (out / "report.html").read_text()
    assert "Every loss, without post-processing: benchmark-test" in text
    assert text.count("data:image/png") == 4


def test_a_page_of_the_documentation_takes_the_verdict(case: Path, tmp_path: Path) -> None:
    front = tmp_path / "page.md"
    front.write_text(
        "# Page\n<!-- benchmark:verdict begin -->outdated<!-- benchmark:verdict end -->\n"
    )
    command("verdict", "--data", case.parent / "lines", "--out", case, *OPTIONS, "--readme", front)
    text = front.read_text()
    assert "outdated" not in text
    assert "without on 1 of 1 test set (lines test)" in text
    table_ = (case / "lines" / "verdict-test.md").read_text()
    for row in table_.splitlines():
        if row.startswith("|"):
            assert row in text


@pytest.mark.parametrize(
    ("collapsed", "told"),
    [
        ({("on", 1): 0.1}, "not compared, since trainings collapsed: CE+Dice, SCNP, w = 3"),
        ({("off", 0): 0.9}, "no verdict, since CE+Dice, plain itself collapsed."),
        (
            {(mode, seed): 0.1 for mode in MODES for seed in (0, 1)},
            "no verdict, since CE+Dice, plain itself collapsed.",
        ),
    ],
    ids=["one", "baseline", "all"],
)
def test_collapse_comes_first_and_last_and_has_no_p(
    collapsed: dict[tuple[str, int], float],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = figures_of(monkeypatch)
    data, out = write_referees_case(tmp_path, 6, collapsed)
    command("verdict", "--data", data, "--out", out, *OPTIONS)
    written = capsys.readouterr()
    warning = read_results(out / "lines").warning
    assert f"{len(collapsed)} of {2 * (COMPARED + 1)} trainings collapsed" in warning
    assert written.err.splitlines()[-1] == warning
    body = (out / "report.html").read_text().split("</h1>")[1].lstrip()
    assert body.startswith('<p class="warning">')
    assert body.index("trainings collapsed, which is a failure") < body.index('class="verdict"')
    assert "(0 images)" not in (out / "lines" / "verdict-test.md").read_text()
    for name in ("verdict-test.md", "scores-test.md"):
        assert (out / "lines" / name).read_text().startswith(warning)
    assert told in (out / "lines" / "verdict-test.md").read_text()
    rows = {row["method"]: row for row in rows_of(out / "lines" / "verdict-test.csv")}
    for mode, method in (("off", BASELINE), ("on", ON), ("joint", JOINT)):
        own = [seed for (m, seed) in collapsed if m == mode]
        if own or "no verdict" in told:
            assert rows[method.title]["p"] == rows[method.title]["p (Holm)"] == ""
        if own:
            assert f"{len(own)} of 2 seeds found" in rows[method.title]["seeds"]
        if len(own) == 2:
            assert rows[method.title]["Betti-matching error"] == ""
    for figure in drawn:
        assert warning[:40] in " ".join(figure.get_suptitle().split())


def test_the_picture_shows_the_image_in_the_middle(tmp_path: Path) -> None:
    """Of the changes by SCNP and joint: two of images 0, 2, 4; and one more of the odd ones."""
    _, out = write_referees_case(tmp_path, 5)
    (verdict,) = judge(read_results(out / "lines"), (3,), 1)
    own, plain = verdict.paired(ON, "post-processed", verdict.main)
    assert (own - plain).tolist() == [-1, -2, -1, -2, -1]
    assert verdict.usual_image == "0"


def test_few_images_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_referees_case(tmp_path, 4)
    command("verdict", "--data", data, "--out", out, *OPTIONS)
    text = (out / "lines" / "verdict-test.md").read_text()
    assert (
        f"with 4 images and {COMPARED} comparisons the smallest of them needs a p below "
        f"{0.05 / COMPARED:.2g}, and none can be below 0.12." in text
    )
    printed = capsys.readouterr().out
    assert "too few test images for a significant difference on lines test" in printed
    assert "no significant difference" not in printed
    assert "**" not in "".join(
        row["Betti-matching error"] for row in rows_of(out / "lines" / "verdict-test.csv")
    )


def test_a_kill_while_scoring_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_referees_case(tmp_path, 6)
    arguments = ("verdict", "--data", data, "--out", out, *OPTIONS)
    calls: list[search.Task] = []
    real = search.measure

    def until_killed(task: search.Task) -> object:
        if task.split == "test" and sum(t.split == "test" for t in calls) == 5:
            raise KeyboardInterrupt
        calls.append(task)
        return real(task)

    monkeypatch.setattr("benchmarks.topology.final_scores.measure", until_killed)
    monkeypatch.setattr(search, "measure", until_killed)
    with pytest.raises(AssertionError):  # 130, not 0
        command(*arguments)
    assert "goes on where it stopped" in capsys.readouterr().err
    assert not (out / "report.html").exists()
    calls.clear()

    def noted(task: search.Task) -> object:
        calls.append(task)
        return real(task)

    monkeypatch.setattr("benchmarks.topology.final_scores.measure", noted)
    monkeypatch.setattr(search, "measure", noted)
    command(*arguments)
    assert {task.split for task in calls} == {"test"}  # the search was finished
    runs = 2 * (COMPARED + 1)
    assert len(calls) == 2 * (runs - 2)  # by 2 connectivities; 2 runs were whole before
    calls.clear()
    command(*arguments)
    assert calls == []
    whole = tmp_path / "whole"
    write_referees_case(whole, 6)
    command("verdict", "--data", data, "--out", whole / "out", *OPTIONS)
    for name in NAMES:
        assert (out / "lines" / name).read_text() == (whole / "out" / "lines" / name).read_text()


def test_runs_that_are_stored_are_compared_though_nobody_asked(case: Path, tmp_path: Path) -> None:
    out = shutil.copytree(case, tmp_path / "out")
    for seed in (0, 1):
        new = out / "lines" / "runs" / f"focal-on-w3-seed{seed}"
        shutil.copytree(out / "lines" / "runs" / f"ce_dice-on-w3-seed{seed}", new)
        stored = json.loads((new / "run.json").read_text())
        (new / "run.json").write_text(json.dumps({**stored, "loss": "focal"}))
    (verdict,) = judge(read_results(out / "lines"), (3,), 1)
    losses_ = [method.loss for method in verdict.methods]
    assert losses_ == [*["ce_dice"] * len(MODES), "focal", *["cldice"] * 2]
    assert verdict.methods[0] == BASELINE


def data_set(truth: np.ndarray) -> DataSet:
    sample = Sample("a", np.zeros((1, *truth.shape), np.float32), truth.astype(np.uint8))
    return DataSet("a", 2, [sample], [sample], {"test": [sample]})


def test_skeleton_recall_is_for_tubes() -> None:
    tubes = np.zeros((60, 60), np.bool_)
    tubes[10:13], tubes[40:44] = True, True
    rows, columns = np.mgrid[:60, :60]
    discs = (rows % 20 - 10) ** 2 + (columns % 20 - 10) ** 2 < 50
    assert elongation(tubes) > 10
    assert elongation(discs) < 2
    found = {
        name: {key.loss for key in keys(data_set(truth), None, [(3,)], 1)}
        for name, truth in (("tubes", tubes), ("discs", discs))
    }
    assert found["tubes"] == {"ce_dice", "cldice", "skeleton_recall"}
    assert found["discs"] == {"ce_dice", "cldice"}
    wanted = keys(data_set(tubes), ["cldice"], [(3,)], 2)
    seeds = [key.seed for key in wanted]
    assert seeds == sorted(seeds)
    assert RunKey("cldice", "joint", (3,), 0) not in wanted
    assert {key.mode for key in wanted if key.loss == "ce_dice"} >= {"off", "on", "joint"}


def test_other_settings_than_the_folders_are_refused(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("verdict", "--data", case.parent / "lines", "--out", case, *OPTIONS)
    assert "iterations 300 and 7" in failing(capsys, *arguments, "--iterations", 7)


def test_a_page_shows_text_as_text() -> None:
    text = page("<b>", [table([{"a<b": "**x** & _y_ of z_0_1"}])])
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "<th>a&lt;b</th>" in text
    assert "<td><strong>x</strong> &amp; <em>y</em> of z_0_1</td>" in text


def test_the_one_sentence_hides_no_mode_that_is_significantly_worse(tmp_path: Path) -> None:
    """SCNP alone mends what joint breaks: the data set counts as both."""
    data, out = write_referees_case(tmp_path, images=16)
    runs = out / "lines" / "runs"
    for seed in (0, 1):  # clDice breaks three lines, the baseline as many or two
        for name in ("predictions.npz", "probabilities.npz"):
            shutil.copy(
                runs / f"cldice-off-seed{seed}" / name, runs / f"ce_dice-joint-w3-seed{seed}" / name
            )
    command("verdict", "--data", data, "--out", out, *OPTIONS)
    rows = {row["method"]: row for row in rows_of(out / "lines" / "verdict-test.csv")}
    assert rows[ON.title]["Betti-matching error"].startswith("**")
    assert rows[JOINT.title]["Betti-matching error"].startswith("_")
    text = (out / "report.html").read_text()
    assert "without on 1 of 1 test set (lines test); significantly more on lines test." in text


def test_a_method_of_other_seeds_is_not_said_to_have_collapsed(tmp_path: Path) -> None:
    data, out = write_referees_case(tmp_path)
    runs = out / "lines" / "runs"
    for run in runs.glob("cldice-on-*"):
        shutil.rmtree(run)
    (kept,) = runs.glob("cldice-off-seed1")
    shutil.rmtree(runs / "cldice-off-seed0")
    record = json.loads((kept / "run.json").read_text())
    record["seed"] = 7
    (kept / "run.json").write_text(json.dumps(record))
    kept.rename(runs / "cldice-off-seed7")
    options = ("--one-process", "--losses", "ce_dice", "--seeds", 2)
    command("verdict", "--data", data, "--out", out, *options)
    told = (out / "lines" / "verdict-test.md").read_text()
    assert "not compared, since they share no seed with the baseline: clDice, plain" in told
    assert "collapsed:" not in told


def test_what_a_verdict_would_train_or_count_for_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("verdict", "--out", tmp_path / "out", *OPTIONS, "--data", tmp_path)
    assert failing(capsys, *call, "--kernel-size", "3,5").startswith(
        "error: --kernel-size: got 3,5, takes one window"
    )
    assert failing(capsys, *call, tmp_path).startswith(f"error: --data: got {tmp_path.name} twice")
    assert not (tmp_path / "out").exists()
