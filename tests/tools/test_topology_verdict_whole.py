"""Promise: the verdict runs from trainings to the report on folders of images and volumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.topology import search
from tests.tools.test_topology_runs import PATIENCE, ROOT, children_of, is_alive, wait_until
from tests.topology_data import TOY, TOY_TRAINING, command, write_images, write_volumes

NAMES = ("verdict-test.csv", "verdict-test.md", "verdict-test.json", "scores-test.csv")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_verdict_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """A tiny data set in folder form, from trainings to the report; killed in its search."""
    data = write_images(tmp_path / "bars")

    def arguments(out: str, *more: object) -> list[str]:
        toy = (*TOY_TRAINING, "--iterations", 12, "--seeds", 1, "--losses", "cldice", *more)
        return [str(a) for a in ("verdict", "--data", data, "--out", tmp_path / out, *toy)]

    command(*arguments("whole", "--one-process"))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.topology", *arguments("killed", "--workers", 2)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    runs = tmp_path / "killed" / "bars" / "runs"

    def begun() -> bool:
        searched = any(runs.glob(f"*/{search.SEARCH}")) or process.poll() is not None
        return searched or sum(1 for _ in runs.glob("*/run.json")) == 5

    wait_until(begun, PATIENCE)
    children = children_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for child in filter(is_alive, children):  # an idle one would wait for its parent's pipe
        os.kill(child, signal.SIGKILL)
    command(*arguments("killed", "--one-process"))
    for name in NAMES:
        killed, whole = (tmp_path / out / "bars" / name for out in ("killed", "whole"))
        assert killed.read_text() == whole.read_text()
    assert (tmp_path / "killed" / "report.html").is_file()


def test_volumes_and_several_data_sets(tmp_path: Path) -> None:
    """Beside each other in one report, the second with its own options stored."""
    sets = (write_volumes(tmp_path / "plates"), write_images(tmp_path / "bars"))
    toy = (*TOY, "--iterations", 2, "--validations", 1, "--seeds", 1, "--losses", "cldice")
    command("verdict", "--data", *sets, "--out", tmp_path / "out", *toy)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.index("<h2>plates</h2>") < text.index("<h2>bars</h2>")
    header = (tmp_path / "out/plates/scores-test.csv").read_text().splitlines()[0]
    assert "Betti-matching error (6)" in header
    assert "Betti-matching error (26)" in header
    command("verdict", "--data", *sets, "--out", tmp_path / "out", "--one-process", "--seeds", 1,
            "--losses", "cldice", "--to", tmp_path / "report")  # fmt: skip
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "report" / "plates" / "verdict-test.md").is_file()
