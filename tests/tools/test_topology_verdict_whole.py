"""Promise: the verdict runs from trainings to the report, and goes on after a kill."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.topology import search
from benchmarks.topology.__main__ import COMMANDS
from benchmarks.topology.comparisons import BASELINE
from benchmarks.topology.results import read_results
from tests.tools.test_topology_runs import PATIENCE, ROOT, children_of, is_alive, wait_until
from tests.topology_data import (
    REFEREES_COMPARED,
    REFEREES_OPTIONS,
    SIDE,
    TOY,
    command,
    write_images,
    write_referees_case,
    write_volumes,
)

NAMES = ("verdict-test.csv", "verdict-test.md", "verdict-test.json", "scores-test.csv")
# Trains some methods well enough on write_images, in seconds.
SMALL = (*TOY, "--crop-size", SIDE, "--batch-size", 2, "--features", "8x8x8x8x8x8",
         "--iterations", 60, "--learning-rate", 0.05)  # fmt: skip
ONE_SEED = ("--seeds", 1, "--losses", "cldice")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_verdict_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Killed in its search, which works in processes of its own: none of them is left behind."""

    def arguments(root: Path) -> list[str]:
        data, out = write_referees_case(root)
        more = ("--losses", "cldice", "--seeds", "2")
        return ["verdict", "--data", str(data), "--out", str(out), *more]

    command(*arguments(tmp_path / "whole"), "--one-process")
    to_kill = arguments(tmp_path / "killed")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.topology", *to_kill, "--workers", "2"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    whole, killed = (tmp_path / name / "out" for name in ("whole", "killed"))

    def searched() -> int:
        return sum(1 for _ in killed.glob(f"lines/runs/*/{search.SEARCH}"))

    wait_until(lambda: searched() > 0, PATIENCE)
    children = children_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_alive, children)), PATIENCE)
    assert searched() < sum(1 for _ in killed.glob("lines/runs/*"))
    command(*to_kill, "--one-process")
    for name in NAMES:
        assert (killed / "lines" / name).read_text() == (whole / "lines" / name).read_text()
    assert (killed / "report.html").is_file()


@pytest.mark.usefixtures("few_candidates")
def test_a_kill_while_scoring_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_referees_case(tmp_path, 6)
    arguments = ("verdict", "--data", data, "--out", out, *REFEREES_OPTIONS)
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
    runs = 2 * (REFEREES_COMPARED + 1)
    assert len(calls) == 2 * (runs - 2)  # by 2 connectivities; 2 runs were whole before
    calls.clear()
    command(*arguments)
    assert calls == []
    whole = tmp_path / "whole"
    write_referees_case(whole, 6)
    command("verdict", "--data", data, "--out", whole / "out", *REFEREES_OPTIONS)
    for name in NAMES:
        assert (out / "lines" / name).read_text() == (whole / "out" / "lines" / name).read_text()


def test_from_a_folder_to_the_report(tmp_path: Path) -> None:
    """Who is compared are exactly those whose trainings, and the baseline's, did not collapse."""
    data, out = write_images(tmp_path / "bars"), tmp_path / "out"
    command("verdict", "--data", data, "--out", out, *SMALL, *ONE_SEED)
    results = read_results(out / "bars")
    with (out / "bars" / "verdict-test.csv").open(encoding="utf-8", newline="") as text:
        rows = {row["method"]: row for row in csv.DictReader(text)}
    assert set(rows) == {method.title for method in results.methods()}
    assert {(m.loss, m.mode) for m in results.methods()} >= {
        ("ce_dice", "off"),
        ("ce_dice", "on"),
        ("ce_dice", "joint"),
        ("cldice", "off"),
        ("cldice", "on"),
    }
    failed = {m for m in results.methods() if results.collapsed(m, "test")}
    assert len(failed) < len(rows)
    for method in results.methods():
        row = rows[method.title]
        compared = method != BASELINE and not {method, BASELINE} & failed
        assert bool(row["p"]) == bool(row["p (Holm)"]) == compared
        assert bool(row["Betti-matching error"]) == bool(row["Dice"]) == (method not in failed)
    body = (out / "report.html").read_text()
    assert bool(failed) == ('class="warning"' in body)
    assert all(method.title in body for method in results.methods())


def test_volumes_and_several_data_sets(tmp_path: Path) -> None:
    """Beside each other in one report; the second time each with the settings of its folder."""
    sets = (write_volumes(tmp_path / "plates"), write_images(tmp_path / "bars"))
    toy = (*TOY, "--iterations", 2, "--validations", 1)
    out = tmp_path / "out"
    command("verdict", "--data", *sets, "--out", out, *toy, *ONE_SEED)
    text = (out / "report.html").read_text()
    assert text.index("<h2>plates</h2>") < text.index("<h2>bars</h2>")
    header = (out / "plates" / "scores-test.csv").read_text().splitlines()[0]
    assert "Betti-matching error (6)" in header
    assert "Betti-matching error (26)" in header
    report = tmp_path / "report"
    command("verdict", "--data", *sets, "--out", out, "--one-process", *ONE_SEED, "--to", report)
    assert (report / "report.html").is_file()
    assert (report / "plates" / "verdict-test.md").is_file()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_topology_calls_every_report_and_ends_with_the_verdicts() -> None:
    def called(*variables: str) -> list[str]:
        arguments = [
            "make",
            "--no-print-directory",
            "--dry-run",
            "topology",
            "DATA=folder",
            "OUT=out",
            *variables,
        ]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
        *lines, last = done.stdout.replace("\\\n", " ").splitlines()
        assert last.endswith('out/report.html"')
        return [line for line in lines if "-m benchmarks.topology" in line]

    commands = [line.split("-m benchmarks.topology ")[1] for line in called()]
    of_runs = set(COMMANDS) - {"cost", "vessels", "coarsen"}  # which no question needs
    assert [command.split()[0] for command in commands[:2]] == ["thickness", "run"]
    assert {command.split()[0] for command in commands} == of_runs
    assert commands[-1].startswith('verdict --data "folder" --out "out"')
    assert "--kernel-size 3,5" in commands[1]
    single = called("KERNEL_SIZE=3", "LOSSES=all", "SEEDS=5")
    assert not any(" sensitivity " in line for line in single)
    assert all("--losses all --seeds 5" in line for line in single if " --data " in line and
               " qualitative " not in line)  # fmt: skip
