"""Run jobs one after the other within a time limit, and write a row for each as it is known.

A job that fails is a row, and the next one runs. A process that can go on no longer (an illegal
access ends every later call, a kernel that never ends is ended by a watchdog) leaves the row that
it had begun; whoever starts it again with the same file goes on after that row.
"""

from __future__ import annotations

import faulthandler
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu import device, rows
from benchmarks.gpu.rows import Row

# Of one job, compilation included; a rehearsal may run beside much else.
STUCK_SECONDS = 400 if device.REHEARSAL else 40
BROKEN = 77  # exit status: this process's GPU context is dead
FAILED = 3  # exit status: went through all jobs, and some failed


class Job(NamedTuple):
    """One row of a table."""

    table: str
    case: str
    implementation: str
    measure: Callable[[], Row]

    @property
    def name(self) -> str:
        return f"{self.table}: {self.case}, {self.implementation}"


def run(jobs: Iterable[Job], file: Path, seconds: float) -> int:
    """Run what no row of the file tells of yet; return the exit status."""
    end = time.monotonic() + seconds
    told = {row["name"] for row in rows.read(file) if row.get("kind") == "measurement"}
    status = 0
    for job in jobs:
        if job.name in told:
            continue
        about: Row = {"kind": "measurement", "name": job.name, "table": job.table,
                      "case": job.case, "implementation": job.implementation}  # fmt: skip
        if time.monotonic() > end:
            rows.append(file, {**about, "state": "not reached", "reason": "the time was up"})
            continue
        rows.append(file, {**about, "state": "started"})
        # By a thread of C: also where Python waits for a kernel that never ends.
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        try:
            row = {"state": "measured", **job.measure()}
        except Exception as error:  # whatever a kernel, a compiler or the memory raises
            row = {"state": "failed", "reason": f"{type(error).__name__}: {error}",
                   "traceback": traceback.format_exc()}  # fmt: skip
            status = FAILED
        faulthandler.cancel_dump_traceback_later()
        row = {**about, **row}
        rows.append(file, row)
        print(_said(row), flush=True)
        if row["state"] == "failed":
            broken = device.sticky_error()
            if broken is not None:
                print(f"the GPU answers this process no more: {broken}", flush=True)
                sys.exit(BROKEN)
            device.give_back_memory()
    return status


def _said(row: Row) -> str:
    figures = {
        key: value
        for key, value in row.items()
        if isinstance(value, float) and not key.endswith(("_low", "_high"))
    }
    told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
    reason = f" {row['reason']}" if "reason" in row else ""
    return f"{row['state']:<9} {row['name']}: {told}{reason}"
