"""How long the topology benchmark trains: the rule, the pilot, and that all train as long."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.topology import pilot, run_command, verdict
from benchmarks.topology.pilot import has_stopped_rising
from benchmarks.topology.records import PILOT, configuration_of, finished_runs
from benchmarks.topology.training import Training
from tests.topology_data import (
    TOY,
    command,
    failing,
    is_picture,
    run_arguments,
    without_trainings,
    write_images,
)

NAN = math.nan


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "bars")


@pytest.mark.parametrize(
    ("dice", "stops_after"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None),
        ([0.5, 0.7, 0.70, 0.69, 0.705], 5),  # 0.01 above the best before is no rise
        ([0.5, 0.7, 0.70, 0.69, 0.715, 0.6, 0.7, 0.725], 8),
        ([0.7, 0.6, 0.6, 0.6], 4),
        ([0.7, 0.6, 0.6], None),  # too few checks
        ([0.60, 0.605, 0.610, 0.615, 0.62, 0.625], None),  # slowly, but in three checks enough
        ([NAN] * 9, None),  # it found nothing so far
        ([NAN, NAN, NAN, 0.5, 0.5, 0.5, 0.5], 7),
        ([0.5, 0.5, NAN, 0.5, NAN, 0.5], 6),
    ],
)
def test_the_rule_on_given_curves(dice: list[float], stops_after: int | None) -> None:
    """With three checks that must rise by more than 0.0125."""
    stopped = [
        count
        for count in range(1, len(dice) + 1)
        if has_stopped_rising(dice[:count], rise=0.0125, patience=3)
    ]
    assert (stopped[0] if stopped else None) == stops_after


def test_the_dice_that_decides() -> None:
    truth = {"val/0": np.array([[0, 0, 1, 1]], np.uint8), "val/1": np.zeros((1, 6), np.uint8)}
    found = {"val/0": np.array([[0, 1, 1, 0]], np.uint8), "val/1": np.zeros((1, 6), np.uint8)}
    dice = pilot.dice_of_classes(found, truth, 2)
    # 1 of 2 pixels found and true; 7 of 8 of the background.
    assert dice == {"dice": pytest.approx((0.5 + 0.875) / 2), "dice_0": 0.875, "dice_1": 0.5}
    nothing = {key: np.zeros_like(of) for key, of in truth.items()}
    everything = {key: np.ones_like(of) for key, of in truth.items()}
    for collapsed in (nothing, everything):
        assert math.isnan(pilot.dice_of_classes(collapsed, truth, 2)["dice"])
    three = pilot.dice_of_classes(found, truth, 3)  # the third occurs nowhere
    assert three["dice"] == dice["dice"]
    assert math.isnan(three["dice_2"])


def staged(monkeypatch: pytest.MonkeyPatch, dice: list[float], every: int = 2) -> None:
    """Pilots check so often, and find these Dice values."""
    monkeypatch.setattr(pilot, "CHECK_EVERY", every)

    def check(training: object, *_: object) -> dict[str, float]:
        iteration = training.progress.iteration  # type: ignore[attr-defined]
        value = dice[iteration // every - 1]
        return {"dice": value, "dice_0": value, "dice_1": value}

    monkeypatch.setattr(pilot, "_check", check)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_every_method_trains_as_long_as_the_pilot(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    staged(monkeypatch, [0.2, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9])
    out = tmp_path / "out" / "bars"
    arguments = run_arguments(images, out.parent, "--losses", "ce,ce_dice", "--seeds", 1)
    command(*arguments)
    said = capsys.readouterr().err
    assert "Plain CE+Dice trained for 14 iterations; then its validation Dice had risen" in said
    runs = finished_runs(out)
    assert len(runs) == 2 * 4
    for record in runs:
        assert record.curve()[-1]["iteration"] == "14"
    assert configuration_of(out).iterations == 14
    stored = json.loads((out / PILOT).read_text())
    assert (stored["iterations"], stored["loss"]) == (14, "ce_dice")
    assert stored["configuration"]["iterations"] == 5000  # at most
    assert [row["iteration"] for row in rows_of(out / "pilot.csv")] == [*"2468", "10", "12", "14"]
    assert is_picture(out / "pilot.png")
    assert not (out / "pilot.pt").exists()
    before = (out / PILOT).stat().st_mtime_ns
    command(*arguments, "--seeds", 2)  # the folder's iterations, no second pilot
    assert (out / PILOT).stat().st_mtime_ns == before
    assert {record.curve()[-1]["iteration"] for record in finished_runs(out)} == {"14"}
    command("convergence", out.parent, "--to", tmp_path / "report")
    assert (
        "trained for 14 iterations" in (tmp_path / "report/bars/convergence-ce_dice.md").read_text()
    )
    assert is_picture(tmp_path / "report" / "bars" / "pilot.png")


def test_a_pilot_that_rises_to_the_end_says_so(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    staged(monkeypatch, [0.1 * check for check in range(1, 9)])
    options = ("--scnp", "off", "--seeds", 1, "--most-iterations", 7)
    monkeypatch.setattr(pilot, "CHECK_EVERY", 2)
    command(*run_arguments(images, tmp_path / "out", *options))
    assert (
        "trained for 7 iterations; its validation Dice was still rising" in capsys.readouterr().err
    )
    assert configuration_of(tmp_path / "out" / "bars").iterations == 7


def test_iterations_that_are_given_need_no_pilot(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "Training", None)
    out = tmp_path / "out" / "bars"
    arguments = run_arguments(images, out.parent, "--scnp", "off", "--seeds", 1)
    command(*arguments, "--iterations", 3)
    assert not (out / PILOT).exists()
    command(*arguments)  # the folder says it
    command(*arguments, "--configuration", out / "configuration.json")
    assert len(finished_runs(out)) == 1


class Killed(BaseException):
    pass


def test_a_killed_pilot_goes_on_with_the_same_result(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "CHECK_EVERY", 2)
    without_trainings(monkeypatch)
    options = ("--scnp", "off", "--seeds", 1, "--most-iterations", 12)
    whole, killed = tmp_path / "whole" / "bars", tmp_path / "killed" / "bars"
    command(*run_arguments(images, whole.parent, *options))

    iterate = Training.iterate

    def dying(training: Training, done: float) -> float:
        if training.progress.iteration == 7:
            raise Killed
        return iterate(training, done)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "iterate", dying)
        with pytest.raises(Killed):
            command(*run_arguments(images, killed.parent, *options))
    assert torch.load(killed / "pilot.pt", weights_only=True)["iteration"] == 6
    assert json.loads((killed / PILOT).read_text())["iterations"] is None
    command(*run_arguments(images, killed.parent, *options))
    curves = [rows_of(folder / "pilot.csv") for folder in (whole, killed)]
    for row in curves[0] + curves[1]:
        del row["seconds"]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 6
    stored = [json.loads((folder / PILOT).read_text()) for folder in (whole, killed)]
    assert stored[0] == stored[1]


def test_another_pilot_in_the_same_folder_is_refused(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_trainings(monkeypatch)
    monkeypatch.setattr(run_command, "describe", lambda *_: None)
    arguments = run_arguments(images, tmp_path, "--most-iterations", 2)
    command(*arguments)
    assert "batch_size 1 and 2" in failing(capsys, *arguments, "--batch-size", 2)
    assert "loss 'ce_dice' and 'ce'" in failing(capsys, *arguments, "--losses", "ce")
    (tmp_path / "bars" / PILOT).write_text("{}")
    error = failing(capsys, *arguments)
    assert str(tmp_path / "bars" / PILOT) in error
    assert "delete it" in error


def test_a_damaged_checkpoint_of_a_pilot_is_named(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bars").mkdir(parents=True, exist_ok=True)
    (tmp_path / "bars" / "pilot.pt").write_text("none")
    error = failing(capsys, *run_arguments(images, tmp_path, "--most-iterations", 2))
    assert f"{tmp_path / 'bars' / 'pilot.pt'}: cannot be read" in error


def test_a_pilot_trains_at_a_constant_rate(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_trainings(monkeypatch)
    rates = []
    iterate = Training.iterate

    def watched(training: Training, done: float) -> float:
        value = iterate(training, done)
        rates.append(training.progress.optimizer.param_groups[0]["lr"])
        return value

    monkeypatch.setattr(Training, "iterate", watched)
    command(*run_arguments(images, tmp_path, "--most-iterations", 4, "--learning-rate", 0.5))
    assert rates == [0.5] * 4


def test_a_verdict_trains_as_long_as_its_baseline_needs(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(monkeypatch, [0.2, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9])
    without_trainings(monkeypatch)
    parser = argparse.ArgumentParser()
    verdict.add_arguments(parser)
    out = str(tmp_path / "out")
    options = parser.parse_args(["--data", str(images), "--out", out, *TOY])
    folder = verdict._train(options, images)
    assert json.loads((folder / PILOT).read_text())["loss"] == "ce_dice"
    assert configuration_of(folder).iterations == 14
    assert verdict._train(options, images) == folder  # as its folder says
