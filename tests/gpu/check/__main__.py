"""``make gpu-check``: every rung, several at a time, and one table at the end.

    python -m tests.gpu.check --newest PYTHON --oldest PYTHON

with two environments, of the newest and the oldest triton that is supported. Each rung is a program
of its own, which says in its first lines what it proves.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
SHARDS = 4  # of the interpreter's cases
# Not the options of `make test`, which leaves these files out.
PYTEST = ["pytest", "-o", "addopts=--import-mode=importlib -q", "-p", "no:cacheprovider"]
INTERPRETED = {"TRITON_INTERPRET": "1"}
FEWER_FUSED = "2d or volume or window_9 or classes_17"


class Rung(NamedTuple):
    """One program."""

    name: str
    command: list[str]
    variables: dict[str, str]


class Outcome(NamedTuple):
    """How it ended."""

    rung: Rung
    status: int
    seconds: float
    output: str


def rungs(newest: str, oldest: str) -> list[Rung]:
    """All of them, the longest first, so that no core waits long for the others at the end."""
    compiler = ["-m", "tests.gpu.check.ahead_of_time"]
    traffic = ["-m", "tests.gpu.check.traffic"]
    fused = ["-m", *PYTEST, "tests/gpu/check/fused_loss.py"]
    interpreter = [
        Rung(
            f"interpreter {shard + 1}/{SHARDS}",
            [newest, "-m", *PYTEST, "tests/gpu/check/interpreter.py"],
            {**INTERPRETED, "SCNP_SHARD": f"{shard}/{SHARDS}"},
        )
        for shard in range(SHARDS)
    ]
    return [
        Rung("ahead of time, newest triton", [newest, *compiler], {}),
        Rung("ahead of time, oldest triton", [oldest, *compiler, "--fewer"], {}),
        *reversed(interpreter),  # the last shard is the longest
        Rung("fused loss, newest triton", [newest, *fused], INTERPRETED),
        Rung("fused loss, oldest triton", [oldest, *fused, "-k", FEWER_FUSED], INTERPRETED),
        Rung("traffic, oldest triton", [oldest, *traffic], INTERPRETED),
        Rung("traffic, newest triton", [newest, *traffic], INTERPRETED),
        Rung("planted faults", [newest, "-m", "tests.gpu.check.faults"], {}),
        Rung(
            "ttsem", [newest, "-m", "ttsem.sanitize", *PYTEST, "tests/gpu/check/semantics.py"], {}
        ),
        Rung(
            "doctests of the host side",
            [newest, "-m", *PYTEST, "--doctest-modules", "scnp_kernels/backends/triton"],
            INTERPRETED,
        ),
    ]


def run(rung: Rung) -> Outcome:
    """Run one, and show at once what it says."""
    start = time.monotonic()
    result = subprocess.run(
        rung.command,
        cwd=ROOT,
        env={**os.environ, "SCNP_BUILD": "none", "OMP_NUM_THREADS": "1", **rung.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    outcome = Outcome(rung, result.returncode, time.monotonic() - start, result.stdout)
    line = "-" * (70 - len(rung.name))
    print(f"---- {rung.name} {line}\n{outcome.output}", flush=True)
    return outcome


def main() -> int:
    """Run all; return the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.check")
    parser.add_argument("--newest", required=True, help="python with the newest triton, and ttsem")
    parser.add_argument("--oldest", required=True, help="python with the oldest triton")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    start = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(run, rungs(options.newest, options.oldest)))
    print("---- gpu-check " + "-" * 60)
    for outcome in outcomes:
        state = "passed" if outcome.status == 0 else "FAILED"
        print(f"  {outcome.rung.name:<34} {state}  {outcome.seconds:6.0f} s")
    failed = sum(outcome.status != 0 for outcome in outcomes)
    print(f"  {time.monotonic() - start:.0f} s in all, {failed} rungs failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
