"""The run: stages one after the other, each under its time limit, and always a report.

    python -m tests.gpu.day [--budget 480] [--report build/gpu_report] [--stages abcde]
    python -m tests.gpu.day --rehearse reference [--fault "wrong bit"]

Returns 0 if everything ended and nothing failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from benchmarks.gpu import rows
from tests.gpu.day import report
from tests.gpu.day.processes import Ended, Running, say
from tests.gpu.day.stages import BUDGET, ROOT, Choice, Program, Stage, stages, variables_of

GOES_ON_AFTER = (0, 1, 3)  # a status that says: all was gone through
MOST_RESTARTS = 20
POLL, REFRESH = 0.1, 5.0  # seconds: between two looks, between two reports
MARGIN = 3.0  # seconds of the budget that the last report may take


class InterruptedRunError(BaseException):
    """A signal ends the run: not an error that a stage may catch."""


class Started(NamedTuple):
    """A program that runs, and where it belongs."""

    program: Program
    stage: Stage
    running: Running
    limit: float  # seconds after which it is ended


class Run:
    """All stages of a run."""

    def __init__(self, choice: Choice, table: list[Stage]) -> None:
        self.choice, self.table = choice, table
        self.folder = choice.rows
        self.begun = time.monotonic()
        self.beside: list[Started] = []
        self.step: list[Started] = []
        self._reported = 0.0
        self._restarts = 0

    def all(self) -> int:
        """Run the stages; return how much went wrong."""
        self._tell("run", budget=self.choice.budget, rehearsal=self.choice.rehearsal,
                   fault=self.choice.fault)  # fmt: skip
        state = "finished"
        try:
            for stage in self.table:
                self._stage(stage)
        except InterruptedRunError as interrupted:
            state = f"interrupted ({interrupted})"
        except Exception as error:  # of this program: the report tells even that
            state = f"ended by {type(error).__name__}: {error}"
        finally:
            self.beside += self.step
            self._end_beside()
            seconds = time.monotonic() - self.begun
            self._tell("end", state=state, seconds=round(seconds, 1))
            report.write(self.folder)
        return report.failed(self.folder) + (state != "finished")

    def _tell(self, kind: str, **more: object) -> None:
        rows.append(self.folder / report.RUN, {"kind": kind, **more})

    def _left(self) -> float:
        budget = self.choice.budget * self.choice.patience
        return budget - MARGIN - (time.monotonic() - self.begun)

    def _stage(self, stage: Stage) -> None:
        limit = min(stage.seconds * self.choice.patience, self._left())
        begun = time.monotonic()
        self._tell("stage", stage=stage.letter, title=stage.title, limit=max(0.0, limit))
        report.write(self.folder)
        say(f"\n==== stage {stage.letter}: {stage.title} ({limit:.0f} s at most)")
        if stage.alone:
            self._end_beside()
        if limit <= 0:
            self._tell("stage end", stage=stage.letter, state="not begun", seconds=0.0)
            return
        end = begun + limit
        for program in stage.beside:
            limit = program.seconds * self.choice.patience
            self.beside.append(self._start(stage, program, limit, beside=True))
        if stage.needs:
            self._wait_for(stage.needs, end)
        states = [self._step(stage, step, end) for step in stage.steps]
        state = "**killed at its limit**" if "killed" in states else "ended"
        seconds = round(time.monotonic() - begun, 1)
        self._tell("stage end", stage=stage.letter, state=state, seconds=seconds)
        report.write(self.folder)

    def _step(self, stage: Stage, step: tuple[Program, ...], end: float) -> str:
        """Programs that run at the same time; says whether one was killed."""
        left = end - time.monotonic()
        if left <= 1:
            for program in step:
                self._tell_program(stage, program.name, Ended("not begun", None, 0.0), 0.0, "")
            return "killed"
        patience = self.choice.patience
        self.step = [self._start(stage, p, min(p.seconds * patience, left)) for p in step]
        killed = False
        while self.step:
            self.step, kills = self._look(self.step)
            killed = killed or kills
            self._look_beside()
            self._refresh()
            time.sleep(POLL)
        return "killed" if killed else "ended"

    def _look(self, started: list[Started]) -> tuple[list[Started], bool]:
        """Return those that go on, restarted ones included; and whether one was killed."""
        going: list[Started] = []
        killed = False
        for one in started:
            one.running.tell()
            if one.running.runs and one.running.seconds <= one.limit:
                going.append(one)
                continue
            runs = one.running.runs
            ended = one.running.kill() if runs else one.running.ended()
            killed = killed or runs
            again = self._restarted(one, ended)
            if again is not None:
                going.append(again)
            else:
                self._ended(one, ended)
        return going, killed

    def _restarted(self, one: Started, ended: Ended) -> Started | None:
        """A measurement that broke off is begun again, and goes on after what it had begun."""
        left = one.limit - ended.seconds
        if not one.program.restarts or ended.state != "ended" or left < 5:
            return None
        if ended.status in GOES_ON_AFTER or self._restarts >= MOST_RESTARTS:
            return None
        self._restarts += 1
        self._tell("restart", stage=one.stage.letter, name=one.program.name, status=ended.status)
        return self._start(one.stage, one.program, left)

    def _start(self, stage: Stage, program: Program, limit: float, beside: bool = False) -> Started:
        log = self.folder / f"{stage.letter}-{program.name.replace(' ', '_').replace(',', '')}.log"
        variables = variables_of(self.choice, stage.letter, program.name, log)
        say(f"---- {stage.letter}, {program.name}")
        variables |= dict(program.variables)
        running = Running(list(program.command), ROOT, variables, log, beside)
        return Started(program, stage, running, limit)

    def _ended(self, one: Started, ended: Ended, on_purpose: bool = False) -> None:
        one.running.tell()
        name, log = one.program.name, one.running.log.name
        self._tell_program(one.stage, name, ended, one.limit, log, on_purpose)

    def _tell_program(
        self,
        stage: Stage,
        name: str,
        ended: Ended,
        limit: float,
        log: str,
        on_purpose: bool = False,
    ) -> None:
        self._tell(
            "program",
            stage=stage.letter,
            name=name,
            state=ended.state,
            status=ended.status,
            seconds=round(ended.seconds, 1),
            limit=limit,
            log=log,
            stopped_on_purpose=on_purpose,
            has_failed_rows=report.has_failed_rows(self.folder, stage.letter, name),
        )

    def _look_beside(self) -> None:
        self.beside, _ = self._look(self.beside)

    def _wait_for(self, name: str, end: float) -> None:
        while time.monotonic() < end and any(one.program.name == name for one in self.beside):
            self._look_beside()
            self._refresh()
            time.sleep(POLL)

    def _end_beside(self) -> None:
        """What runs beside is a help only: where it is not done by now, nothing is lost."""
        for one in self.beside:
            runs = one.running.runs
            ended = one.running.kill() if runs else one.running.ended()
            self._ended(one, ended, on_purpose=runs)
        self.beside = []

    def _refresh(self) -> None:
        if time.monotonic() - self._reported > REFRESH:
            report.write(self.folder)
            self._reported = time.monotonic()


def fresh(folder: Path) -> None:
    """Make the folder; an earlier report in it is moved aside, never mixed with this one."""
    if (folder / report.RUN).exists():
        begun = time.strftime(
            "%Y%m%d-%H%M%S", time.localtime((folder / report.RUN).stat().st_mtime)
        )
        aside = folder / f"before-{begun}"
        aside.mkdir()
        for file in [*folder.glob("*.jsonl"), *folder.glob("*.log"), folder / report.PAGE]:
            if file.exists():
                shutil.move(str(file), aside / file.name)
    shutil.rmtree(folder / "references", ignore_errors=True)
    (folder / "references").mkdir(parents=True)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise InterruptedRunError(signal.Signals(number).name)


def main() -> int:
    """Return 0 if everything ended and nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.day")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of the whole run")
    parser.add_argument("--report", type=Path, default=Path("build/gpu_report"))
    parser.add_argument("--stages", default=report.LETTERS, help="letters, such as abcd")
    parser.add_argument("--rehearse", default="", choices=("", "reference", "interpreter"),
                        help="without a GPU: what runs in Triton's place")  # fmt: skip
    parser.add_argument("--toy", action="store_true", help="a handful of tests a stage")
    parser.add_argument("--fault", default="", help="of a rehearsal: see tests/gpu/day/faults.py")
    parser.add_argument("--patience", type=float, default=1,
                        help="every limit times this")  # fmt: skip
    options = parser.parse_args()
    if (options.fault or options.toy) and not options.rehearse:
        parser.error("--fault and --toy belong to a rehearsal")
    folder = options.report.absolute()
    fresh(folder)
    toy = options.toy or options.rehearse == "interpreter"  # seconds for the smallest image
    choice = Choice(folder, options.budget, options.rehearse, toy, options.fault, options.patience)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    table = [stage for stage in stages(choice) if stage.letter in options.stages]
    wrong = Run(choice, table).all()
    shutil.rmtree(folder / "references", ignore_errors=True)
    page = (folder / report.PAGE).read_text(encoding="utf-8").partition("\n## What failed")[0]
    say(f"\n{page}\n{wrong} went wrong. Wrote {os.path.relpath(folder / report.PAGE)}")
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main())
