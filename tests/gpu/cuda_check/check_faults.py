"""The checks themselves: every fault in ``faults/``, planted in a copy, must make them fail."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cases import CASES, DTYPES
from tests.gpu.cuda_check.comparison import REGIMES, check_case
from tests.gpu.cuda_check.host_worker import CSRC, HERE, Worker, WorkerDiedError, build

FAULTS = sorted((HERE / "faults").glob("*.patch"))


def test_there_are_faults() -> None:
    assert [fault.stem for fault in FAULTS] == [
        "border_not_clipped",
        "dropped_barrier",
        "dropped_barrier_before_reuse",
        "greater_or_equal",
        "halo_too_narrow",
    ]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.stem)
def test_a_planted_fault_is_caught(fault: Path, tmp_path: Path, program: Path) -> None:
    """By the very comparison that the checkout passes; the program of the checkout is built."""
    copy = tmp_path / "csrc"
    shutil.copytree(CSRC, copy)
    applied = subprocess.run(
        ["patch", "--strip=1", "--fuzz=0", "--forward", f"--input={fault}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, f"{applied.stdout}{applied.stderr}"
    worker = Worker(build(copy, tmp_path / "build", earlier=program.parent))
    caught = _first_failure(worker)
    worker.close()
    assert caught is not None, f"the case list does not notice {fault.name}"
    print(caught)


def _first_failure(worker: Worker) -> str | None:
    for regime in REGIMES:
        for case in CASES:
            for dtype in DTYPES:
                try:
                    check_case(worker, case, dtype, regime.limits)
                except (AssertionError, WorkerDiedError) as error:
                    return f"{regime.name}, {case.name}, {dtype}: {type(error).__name__}: {error}"
    return None
