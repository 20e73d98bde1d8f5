"""pytest's part of a run: a row when a test begins and when it ends, and what ends a worker.

    pytest -p tests.gpu.day.pytest_rows -n 12 ...

A test that began and never ended is told by its first row alone. A worker whose GPU context is dead
is ended, and xdist starts another in its place; so is one whose test takes too long, by a thread of
C that runs where Python waits for a kernel that never ends.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import rows


def pytest_configure(config: pytest.Config) -> None:
    """Rows are written by the process that knows all reports; workers look after themselves."""
    if not hasattr(config, "workerinput"):
        file, program = Path(os.environ["SCNP_ROWS"]), os.environ["SCNP_PROGRAM"]
        config.pluginmanager.register(Writer(file, program), "scnp rows")
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.register(Watchdog(), "scnp watchdog")


class Writer:
    """Appends the rows."""

    def __init__(self, file: Path, program: str) -> None:
        self.file, self.program = file, program

    def _append(self, name: str, state: str, **more: Any) -> None:
        row = {"kind": "check", "program": self.program, "name": name, "state": state, **more}
        rows.append(self.file, row)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._append(nodeid, "started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            state = "failed" if report.failed else "skipped"
            reason = report.longreprtext
            if report.skipped and isinstance(report.longrepr, tuple):
                reason = report.longrepr[2]
            self._append(report.nodeid, state, reason=reason, when=report.when,
                         seconds=round(report.duration, 3),
                         worker=getattr(report, "worker_id", ""))  # fmt: skip
        elif report.when == "call":
            self._append(report.nodeid, "passed", seconds=round(report.duration, 3))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is a failed check."""
        if report.failed:
            self._append(report.nodeid, "failed", reason=report.longreprtext, when="collect")


class Watchdog:
    """Ends the process when a test takes too long, or when the GPU answers it no more."""

    def __init__(self) -> None:
        # pytest catches what goes to stderr, and it would be lost with the process.
        self.log = Path(os.environ["SCNP_LOG"]).open("a")  # noqa: SIM115
        self.failed = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.failed = False
        seconds = float(os.environ.get("SCNP_TEST_SECONDS", "30"))
        faulthandler.dump_traceback_later(seconds, exit=True, file=self.log)
        result = yield
        if self.failed:
            self._end_if_broken(item.nodeid)
        faulthandler.cancel_dump_traceback_later()
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed

    def _end_if_broken(self, name: str) -> None:
        """The report of the test has been sent by now: its true reason is known."""
        from benchmarks.gpu import device

        broken = device.sticky_error()
        if broken is not None:
            said = f"after {name} the GPU answers this process no more, which ends: {broken}"
            print(said, file=self.log, flush=True)
            sys.stdout.flush()
            os._exit(1)
