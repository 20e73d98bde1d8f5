"""Promise: the verdict's figures follow from the predictions, and it compares what is to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

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
    REFEREES_COMPARED,
    REFEREES_OPTIONS,
    failing,
    rows_of,
    write_referees_case,
)

ON, JOINT = Method("ce_dice", "on", (3,)), Method("ce_dice", "joint", (3,))
OTHER, OTHER_ON = Method("cldice", "off", (1,)), Method("cldice", "on", (3,))

pytestmark = pytest.mark.usefixtures("few_candidates")


def test_the_table_of_the_verdict(judged_case: Path) -> None:
    rows = {row["method"]: row for row in rows_of(judged_case / "lines" / "verdict-test.csv")}
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
    assert {row["post-processing"] for row in (plain, on, joint)} == {
        "no piece below 32 pixels (the highest tried)"  # of the few that are tried here
    }
    assert other["post-processing"] == "none"
    scored = {
        row["method"]: row
        for row in rows_of(judged_case / "lines" / "scores-test.csv")
        if row["version"] == "as predicted"
    }
    for title, row in rows.items():
        before = row["Betti-matching error, as predicted"]
        assert before == scored[title]["Betti-matching error (8)"]
        if row["post-processing"] == "none":
            assert before.strip("*_") == row["Betti-matching error"].strip("*_")
    assert plain["p"] == plain["difference [95 %]"] == ""
    assert on["p"] == joint["p"] == "0.0078"  # 2 of 2^8 swaps are as large
    assert on["difference [95 %]"].startswith("-1.50 [-1.")
    assert joint["change [95 %]"] == "-100 % [-100 %, -100 %]"
    assert on["seeds with fewer"] == joint["seeds with fewer"] == "2 of 2"
    assert other["seeds with fewer"] == "0 of 2"


def test_the_corrected_p_values_are_those_of_all_rows(judged_case: Path) -> None:
    stored = json.loads((judged_case / "lines" / "verdict-test.json").read_text())
    for name, count in (
        ("verdict", REFEREES_COMPARED),
        ("every comparison", REFEREES_COMPARED * 2 * 8),
    ):
        found = stored[name]
        assert len(found) == count
        corrected = holm([row["p"] for row in found])
        assert [row["p_holm"] for row in found] == pytest.approx(corrected)
        for row in found:
            lower = row["difference"]["value"] < 0
            wanted = lower == (row["measure"] not in ("dice", "cldice"))
            expected = "" if row["p_holm"] >= 0.05 else "better" if wanted else "worse"
            assert row["outcome"] == expected


def test_scores_p_values_and_intervals_follow_from_the_predictions(judged_case: Path) -> None:
    """From the stored maps, by the metrics and scipy themselves."""
    folder = judged_case / "lines"
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
        predicted = [
            np.load(folder / "runs" / f"{run}-seed{seed}" / "predictions.npz") for seed in (0, 1)
        ]
        return np.array(
            [
                [measured[measure](maps[f"test/{image}"] == 1, truth[image]) for image in images]
                for maps in predicted
            ]
        )

    of_on = [row for row in found if row["method"] == ON.title and row["version"] == "as predicted"]
    assert len(of_on) == 8
    for row in of_on:
        on_by_seed, plain_by_seed = (
            scored(run, row["measure"], row["neighbours"])
            for run in ("ce_dice-on-w3", "ce_dice-off")
        )
        by_seed = (on_by_seed - plain_by_seed).mean(1)
        assert row["difference by seed"] == pytest.approx(by_seed, abs=1e-6)
        own, plain = on_by_seed.mean(0), plain_by_seed.mean(0)
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


def test_the_picture_shows_the_image_in_the_middle(tmp_path: Path) -> None:
    """Of the changes by SCNP and joint: two of images 0, 2, 4; and one more of the odd ones."""
    _, out = write_referees_case(tmp_path, 5)
    (verdict,) = judge(read_results(out / "lines"), (3,), 1)
    own, plain = verdict.paired(ON, "post-processed", verdict.main)
    assert (own - plain).tolist() == [-1, -2, -1, -2, -1]
    assert verdict.usual_image == "0"


def test_runs_that_are_stored_are_compared_though_nobody_asked(
    judged_case: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(judged_case, tmp_path / "out")
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
    judged_case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "verdict",
        "--data",
        judged_case.parent / "lines",
        "--out",
        judged_case,
        *REFEREES_OPTIONS,
    )
    assert "iterations 300 and 7" in failing(capsys, *arguments, "--iterations", 7)


def test_what_a_verdict_would_train_or_count_for_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("verdict", "--out", tmp_path / "out", *REFEREES_OPTIONS, "--data", tmp_path)
    assert failing(capsys, *call, "--kernel-size", "3,5").startswith(
        "error: --kernel-size: got 3,5, takes one window"
    )
    assert failing(capsys, *call, tmp_path).startswith(f"error: --data: got {tmp_path.name} twice")
    assert not (tmp_path / "out").exists()
