"""Promise: compiling on first use survives company, interruption, damage and full disks.

A stand-in for the compiler hands out the kernels that this checkout was built with, slowly, so that
what happens in the middle of a compilation can be chosen. Real compilations: test_packaging.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import scnp_kernels

CHECKOUT = Path(__file__).parent.parent
TIMEOUT = 300  # seconds; only a process that hangs needs them
PENALIZE = """
import torch, scnp_kernels as s
print(s.__file__)
print(s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]])).tolist())
print("cpu:", s.backends()["cpu"])
"""
GOOD = "[[[0.20000000298023224, 0.20000000298023224]]]\ncpu: ok\n"
# The link writes half of the binary, says so, and pauses.
COMPILER = """#!/bin/sh
out=; previous=
for word; do
  if [ "$previous" = -o ]; then out=$word; fi
  previous=$word
done
case " $* " in
*" -c "*) : >"$out" ;;
*" -shared "*)
  head -c 100000 "$FINISHED" >"$out"
  echo started >>"$STARTED"
  sleep "$PAUSE"
  cp "$FINISHED" "$out" ;;
*) exec c++ "$@" ;;
esac
"""


class FirstUse:
    """A pure-Python installation, its cache, and a compiler that takes its time."""

    def __init__(self, folder: Path) -> None:
        package = Path(scnp_kernels.__file__).parent
        self.site = folder / "site"
        ignored = shutil.ignore_patterns("_C*", "__pycache__")
        shutil.copytree(package, self.site / "scnp_kernels", ignore=ignored)
        shutil.copytree(CHECKOUT / "csrc", self.site / "scnp_kernels" / "csrc")
        (self.finished,) = package.glob("_C*.so")
        self.compiler = folder / "compiler"
        self.compiler.write_text(COMPILER)
        self.compiler.chmod(0o755)
        self.started = folder / "started"
        self.folder = folder
        self.cache = folder / "cache"
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, code: str = PENALIZE, *, pause: float = 0, **changes: str
    ) -> subprocess.Popen[str]:
        """A process, in a group of its own as a shell makes it."""
        cleared = ("SCNP_", "CXX", "FORCE_CUDA", "CUDA_", "TORCH_CUDA_", "PYTHONPATH")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(cleared)}
        environment = {
            **kept,
            "PYTHONPATH": str(self.site),
            "CXX": str(self.compiler),
            "FINISHED": str(self.finished),
            "STARTED": str(self.started),
            "PAUSE": str(pause),
            "TORCH_EXTENSIONS_DIR": str(self.cache),
            **changes,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def run(self, code: str = PENALIZE, *, pause: float = 0, **changes: str) -> tuple[str, str]:
        return end(self.start(code, pause=pause, **changes))

    def compilations(self) -> int:
        """How many links have begun."""
        return len(self.started.read_text().split()) if self.started.exists() else 0

    def wait_for_compilation(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while self.compilations() == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def files(self) -> list[Path]:
        return [path for path in self.cache.rglob("*") if path.is_file()]

    def workplaces(self) -> list[Path]:
        return list((self.cache / "scnp_kernels").glob("compiling-*"))

    def damage(self, content: bytes) -> Path:
        """Compile, and put something else in the binary's place."""
        self.run()
        (binary,) = self.files()
        binary.write_bytes(content)
        return binary


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for success. Returns what it printed, and its complaints."""
    out, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, error
    return out, error


@pytest.fixture
def first_use(tmp_path: Path) -> Iterator[FirstUse]:
    first_use = FirstUse(tmp_path)
    yield first_use
    for process in first_use.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_processes_that_start_together_all_succeed(first_use: FirstUse) -> None:
    processes = [first_use.start(pause=2) for _ in range(3)]
    for process in processes:
        out, _ = end(process)
        assert str(first_use.site) in out
        assert out.endswith(GOOD)
    assert first_use.compilations() > 1  # they did meet
    assert len(first_use.files()) == 1
    assert first_use.workplaces() == []
    before = first_use.compilations()
    assert first_use.run()[0].endswith(GOOD)
    assert first_use.compilations() == before


def test_threads_that_start_together_compile_once(first_use: FirstUse) -> None:
    code = """
import torch, threading, scnp_kernels as s
results = []
def call():
    results.append(s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]]), backend="cpu"))
threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(results), all((r == 0.2).all() for r in results))
"""
    assert first_use.run(code, pause=0.5)[0] == "8 True\n"
    assert first_use.compilations() == 1


def test_a_killed_compilation_leaves_nothing_that_is_used(first_use: FirstUse) -> None:
    process = first_use.start(pause=TIMEOUT)
    first_use.wait_for_compilation()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (stale,) = first_use.workplaces()
    assert [file for file in first_use.files() if stale not in file.parents] == []
    # Nobody can know yet that nobody is at work there.
    out, error = first_use.run()
    assert out.endswith(GOOD)
    assert "compiled in" in error
    assert first_use.workplaces() == [stale]


def test_what_killed_compilations_left_is_cleared_away(first_use: FirstUse) -> None:
    cache = first_use.cache / "scnp_kernels"
    yesterday = time.time() - 25 * 3600
    for name, file_age, folder_age in (
        ("old", yesterday, yesterday),
        ("at_work", time.time(), yesterday),
        ("young", yesterday, time.time()),
    ):
        workplace = cache / f"compiling-{name}"
        workplace.mkdir(parents=True)
        (workplace / "object.o").write_text("half of it")
        os.utime(workplace / "object.o", (file_age, file_age))
        os.utime(workplace, (folder_age, folder_age))
    (cache / "something_else").mkdir()
    os.utime(cache / "something_else", (yesterday, yesterday))
    assert first_use.run()[0].endswith(GOOD)
    left = {path.name for path in cache.iterdir() if not path.name.startswith("torch-")}
    assert left == {"compiling-at_work", "compiling-young", "something_else"}


def test_an_interrupted_compilation_can_be_tried_again(first_use: FirstUse) -> None:
    """Ctrl-C: the process lives on, without a lock, a verdict or a folder from the first try."""
    code = f"""
import os
try:
    import torch, scnp_kernels as s
    s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]]))
except KeyboardInterrupt:
    print("interrupted", os.listdir(os.environ["TORCH_EXTENSIONS_DIR"] + "/scnp_kernels"))
os.environ["PAUSE"] = "0"
{PENALIZE}
"""
    process = first_use.start(code, pause=TIMEOUT)
    first_use.wait_for_compilation()
    os.killpg(process.pid, signal.SIGINT)
    out, _ = end(process)
    assert out.startswith("interrupted []\n")
    assert out.endswith(GOOD)
    assert first_use.compilations() == 2


def test_a_fork_in_the_middle_of_a_compilation(first_use: FirstUse) -> None:
    """The child has neither the thread that compiles nor what it holds: it compiles for itself."""
    code = """
import os, sys, threading, time, torch, scnp_kernels as s
def call():
    return s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]]), backend="cpu").tolist()
torch.set_num_threads(1)
thread = threading.Thread(target=call)
thread.start()
while not os.path.exists(os.environ["STARTED"]):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    os._exit(0 if call() == call() else 1)
deadline = time.monotonic() + 120
while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
    if time.monotonic() > deadline:
        os.kill(child, 9)
        sys.exit("the child hangs")
    time.sleep(0.05)
thread.join()
print("child:", ended[1])
"""
    assert first_use.run(code, pause=3)[0] == "child: 0\n"


@pytest.mark.parametrize(
    "content", [b"", b"something else", b"scnp_kernels build record: {\"torch\": "],
    ids=["empty", "foreign", "cut_short"],
)  # fmt: skip
def test_a_damaged_binary_in_the_cache_is_replaced(first_use: FirstUse, content: bytes) -> None:
    binary = first_use.damage(content)
    report = first_use.run("import scnp_kernels as s; print(s.backends()['cpu'])")[0]
    assert "compiles on first use" in report
    out, error = first_use.run()
    assert out.endswith(GOOD)
    assert "compiled in" in error
    assert first_use.files() == [binary]
    assert binary.read_bytes() == first_use.finished.read_bytes()


@pytest.mark.parametrize("content", [b"", b"\x7fELF"], ids=["empty", "cut_short"])
def test_a_damaged_binary_of_the_installation_is_explained(
    first_use: FirstUse, content: bytes
) -> None:
    (first_use.site / "scnp_kernels" / first_use.finished.name).write_bytes(content)
    out, error = first_use.run(SCNP_BUILD="none")
    assert "[[[0.20000000298023224, 0.20000000298023224]]]" in out
    assert f"{first_use.finished.name} is not a build of scnp_kernels" in error


def _assert_reference_runs(out: str, error: str, *words: str) -> None:
    assert "[[[0.20000000298023224, 0.20000000298023224]]]" in out
    assert "runs on its reference backend" in error
    for word in (*words, "set TORCH_EXTENSIONS_DIR to a directory that can"):
        assert word in error


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_a_read_only_cache_is_told(first_use: FirstUse) -> None:
    """/proc can be written by nobody, not even by root."""
    out, error = first_use.run(TORCH_EXTENSIONS_DIR="/proc/extensions")
    _assert_reference_runs(out, error, "the cache /proc/extensions/scnp_kernels cannot be written")


def test_a_cache_that_stops_being_writable_is_told(first_use: FirstUse) -> None:
    """In the middle of the compilation: a file lies where the binary's folder should."""
    code = "from scnp_kernels import compile_on_first_use as c; print(c._cache_directory())"
    directory = Path(first_use.run(code)[0].strip())
    process = first_use.start(pause=3)
    first_use.wait_for_compilation()
    directory.write_text("in the way")
    out, error = end(process)
    _assert_reference_runs(out, error, f"the cache {directory} cannot be written")
    assert first_use.workplaces() == []
