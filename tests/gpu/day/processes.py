"""A program under a time limit: started in a group of its own, followed, ended with its group."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LAST_WORDS = 1.5  # seconds between SIGABRT, which has Python say where it is, and SIGKILL
_LONGEST_DEATH = 5.0  # seconds; a process in the middle of a driver's call may outlive SIGKILL


def say(text: str, end: str = "\n") -> None:
    """Print, if anybody still listens: a run does not end because its terminal has."""
    with contextlib.suppress(OSError, ValueError):
        print(text, end=end, flush=True)


class Ended(NamedTuple):
    """How a program ended."""

    state: str  # "ended", "killed" or "would not die"
    status: int | None
    seconds: float


class Running:
    """A program that runs. Its output goes to a file, and from there to the terminal."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        variables: dict[str, str],
        log: Path,
        beside: bool = False,
    ) -> None:
        self.log = log
        self._begun = time.monotonic()
        with log.open("ab") as output:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            self._told = output.tell()
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(_before_it_starts, beside),
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def tell(self) -> None:
        """Copy what it has written since the last time to the terminal."""
        with self.log.open("rb") as file:
            file.seek(self._told)
            new = file.read()
        self._told += len(new)
        if new:
            say(new.decode(errors="replace"), end="")

    def ended(self) -> Ended:
        """How it ended by itself; its children, if it left any, are ended here."""
        self._signal(signal.SIGKILL)
        return Ended("ended", self._process.returncode, self.seconds)

    def kill(self) -> Ended:
        """End it and all its children; the log gets Python's last words, where each of them was."""
        self._signal(signal.SIGABRT)
        self._wait(_LAST_WORDS)
        self._signal(signal.SIGKILL)
        died = self._wait(_LONGEST_DEATH)
        return Ended("killed" if died else "would not die", self._process.poll(), self.seconds)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def _before_it_starts(beside: bool) -> None:
    """Runs in the child: no core files, and no life without the one who follows it.

    What runs beside a stage gives way to it.
    """
    if beside:
        os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
