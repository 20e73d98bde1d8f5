"""An object in this process, or in one of its own, of this interpreter or of another.

What one subject leaves behind in a process would change the time of another. Free memory above
all: it serves the next call without page faults, and some of it in huge pages.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness.subject import SubjectError

ROOT = Path(__file__).resolve().parents[2]
# An installed scnp_kernels is the one that is measured. It is imported before the checkout can be
# found, since editable installations are looked up after all paths.
_SERVE = f"""
import importlib.util, sys
sys.path[:] = filter(None, sys.path)
if importlib.util.find_spec("scnp_kernels"):
    import scnp_kernels
sys.path.append({str(ROOT)!r})
from benchmarks.harness.processes import serve
serve()
"""


class Here:
    """In this process."""

    def __init__(self, make: Callable[..., Any], *arguments: object) -> None:
        self._object = make(*arguments)

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the object; return or raise what it does."""
        return getattr(self._object, method)(*arguments)

    def close(self) -> None:
        """Let go of the object."""
        self._object = None


class Elsewhere:
    """In a process of its own, which ends with this one."""

    def __init__(
        self, name: str, make: Callable[..., Any], *arguments: object, python: str = sys.executable
    ) -> None:
        self._name = name
        self.process = subprocess.Popen(
            [python, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._say((make, arguments))

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the object; return what it does.

        Raises:
            SubjectError: Raised by the method.
            RuntimeError: The process has ended, or something else went wrong in it.
        """
        self._say((method, arguments))
        assert self.process.stdout is not None
        try:
            answer = pickle.load(self.process.stdout)
        except EOFError as error:
            raise self._ended() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _say(self, message: object) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(pickle.dumps(message))
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def _ended(self) -> RuntimeError:
        status = self.process.wait()
        return RuntimeError(f"the process of {self._name} ended with status {status}")


Place = Here | Elsewhere


def serve() -> None:
    """The process: answer until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed meanwhile is no answer
    questions = sys.stdin.buffer
    try:
        make, arguments = pickle.load(questions)
        place = Here(make, *arguments)
        while True:
            method, arguments = pickle.load(questions)
            try:
                answer = place.ask(method, *arguments)
            except SubjectError as error:
                answer = error
            except Exception:  # whatever it is, the process that asked has to know
                answer = RuntimeError(traceback.format_exc())
            answers.write(pickle.dumps(answer))
            answers.flush()
    except (EOFError, BrokenPipeError):
        return
