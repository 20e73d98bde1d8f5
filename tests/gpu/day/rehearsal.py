"""The whole run without a GPU, then once for each planted fault, which its report must name.

    python -m tests.gpu.day.rehearsal [--in-place-of-triton interpreter] [--folder build/rehearsal]

The first run goes through everything, to the last table. Those with a fault take a handful of tests
and go on behind the fault: that, too, is looked at.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu import rows
from tests.gpu.day import report
from tests.gpu.day.faults import (
    HANGING_KERNEL,
    HANGING_STAGE,
    ILLEGAL_ACCESS,
    NO_CODE,
    WRONG_BIT,
)
from tests.gpu.day.stages import ROOT


class Planted(NamedTuple):
    """One fault, and what its report must hold beside the rest."""

    fault: str
    told: tuple[str, ...]
    patience: float = 4


PLANTED = (
    Planted(ILLEGAL_ACCESS, ("an illegal memory access was encountered (planted)",)),
    Planted(WRONG_BIT, ("Tensor-likes are not equal!",)),
    Planted(NO_CODE, ("PassManager::run failed (planted)",)),
    Planted(HANGING_KERNEL, ("crashed while running",), 1),
    Planted(HANGING_STAGE, ("was ended at its limit", "faults.py"), 0.4),
)


def run(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a run whose report goes to the folder."""
    command = [sys.executable, "-m", "tests.gpu.day", "--report", str(folder), *options]
    with folder.with_suffix(".out").open("wb") as output:
        return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)


def page_of(folder: Path) -> str:
    """Return the report."""
    return (folder / report.PAGE).read_text(encoding="utf-8")


def whole(folder: Path, stand_in: str, patience: float) -> list[str]:
    """Everything, to the last table; return what is wrong."""
    status = run(folder, "--rehearse", stand_in, "--patience", str(patience)).wait()
    page = page_of(folder)
    wrong = [f"the run ended with {status}"] if status else []
    for wanted in ("Finished in", "| e | Measurements | ended |", "**scnp", "**fused**",
                   "3D U-Net", "## Counters", "## Machine"):  # fmt: skip
        if wanted not in page:
            wrong.append(f"the report has no {wanted!r}")
    return wrong


def with_a_fault(folder: Path, stand_in: str, planted: Planted) -> list[str]:
    """A handful of tests of stages b and c, with the fault in b; return what is wrong."""
    options = ["--rehearse", stand_in, "--toy", "--stages", "bc", "--fault", planted.fault]
    status = run(folder, *options, "--patience", str(planted.patience)).wait()
    page = page_of(folder)
    wrong = [] if status == 1 else [f"the run ended with {status}, not with 1"]
    wrong += [f"the report has no {told!r}" for told in planted.told if told not in page]
    if "Finished in" not in page:
        wrong.append("the run did not go on to its end")
    behind = [row["state"] for row in rows.read(folder / "c.jsonl") if row["kind"] == "check"]
    if "passed" not in behind:
        wrong.append("nothing passed in the stage behind the fault")
    return wrong


def killed(folder: Path, stand_in: str) -> list[str]:
    """A run that is killed in the middle, by the signal that nobody can answer."""
    process = run(folder, "--rehearse", stand_in, "--toy", "--patience", "4")
    while process.poll() is None and not rows.read(folder / "a.jsonl"):
        time.sleep(0.2)
    time.sleep(3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    page = page_of(folder)
    wrong = (
        [] if "**Not finished.** Stage a was running" in page else ["the report does not say so"]
    )
    report.write(folder)  # what `python -m tests.gpu.day.report` does
    if "packages" not in page_of(folder):
        wrong.append("what was known is not in the report")
    return wrong


def main() -> int:
    """Return how many rehearsals went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.day.rehearsal")
    parser.add_argument("--in-place-of-triton", default="reference",
                        choices=("reference", "interpreter"))  # fmt: skip
    parser.add_argument("--folder", type=Path, default=Path("build/rehearsal"))
    parser.add_argument("--patience", type=float, default=6, help="of the whole run")
    options = parser.parse_args()
    folder, stand_in = options.folder.absolute(), options.in_place_of_triton
    folder.mkdir(parents=True, exist_ok=True)
    print(f"in Triton's place: {stand_in}", flush=True)
    results = {"everything": lambda: whole(folder / "whole", stand_in, options.patience)}
    for planted in PLANTED:
        name = planted.fault.replace(" ", "_")
        results[planted.fault] = lambda p=planted, n=name: with_a_fault(folder / n, stand_in, p)  # type: ignore[misc]
    results["killed run"] = lambda: killed(folder / "killed", stand_in)
    failed = 0
    for name, rehearse in results.items():
        begun = time.monotonic()
        wrong = rehearse()
        failed += bool(wrong)
        seconds = time.monotonic() - begun
        print(f"  {name:<18} {seconds:5.0f} s  {'; '.join(wrong) or 'as it should'}", flush=True)
    print(f"{len(results)} rehearsals, {failed} went wrong; reports in {options.folder}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
