"""Runs code in processes that have imported torch, or more, and nothing of ours.

Importing torch takes seconds. One process does it, and forks for each piece of code: it finds no
module, no kernel and no choice of an instruction set that an earlier piece has left.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]


def run(
    code: str,
    *arguments: str,
    folder: Path = CHECKOUT,
    imported: str = "torch",
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Return what ``python -c code arguments`` does in this folder, with these variables beside.

    As there, modules are looked for in the folder, then along PYTHONPATH if it is among them. What
    is ``imported``, a module or several with commas, is there from the beginning.
    """
    with tempfile.TemporaryDirectory() as files:
        request = (code, arguments, str(folder), variables, files)
        server = _server(imported)
        assert server.stdin is not None
        assert server.stdout is not None
        pickle.dump(request, server.stdin)
        server.stdin.flush()
        status: int = pickle.load(server.stdout)
        output, errors = (
            (Path(files) / name).read_text(errors="replace") for name in ("output", "errors")
        )
    return subprocess.CompletedProcess(["python", "-c", code, *arguments], status, output, errors)


@functools.cache
def _server(imported: str) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fresh_process", imported],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def _serve(imported: str) -> None:
    """Answer one request after the other, until nobody is there any more."""
    for name in imported.split(","):
        importlib.import_module(name)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            _run_here(*request)
        pickle.dump(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answers)
        answers.flush()


def _run_here(
    code: str, arguments: tuple[str, ...], folder: str, variables: dict[str, str], files: str
) -> None:
    """End the process with what the code ends with."""
    status = 0
    for name, number in (("output", 1), ("errors", 2)):
        os.dup2(os.open(Path(files) / name, os.O_WRONLY | os.O_CREAT), number)
    try:
        os.environ.update(variables)
        os.chdir(folder)
        sys.argv = ["-c", *arguments]
        sys.path[0:1] = ["", *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(code, "<string>", "exec"), names)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
