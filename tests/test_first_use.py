"""Promise: compiling on first use survives company, interruption, damage and full disks.

A stand-in for the compiler hands out the kernels that this checkout was built with, once it is told
to go on, so that what happens in the middle of a compilation can be chosen. Real compilations:
test_packaging.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import scnp_kernels
from scnp_kernels.backends.native import loader as native

CHECKOUT = Path(__file__).parent.parent
TIMEOUT = 600  # seconds; only a process that hangs needs them
PENALIZE = """
import torch, scnp_kernels as s
print(s.__file__)
print(s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]])).tolist())
print("cpu:", s.backends()["cpu"])
"""
GOOD = "[[[0.20000000298023224, 0.20000000298023224]]]\ncpu: ok\n"
# The link writes half of the binary, says so, and waits for a file, or for the end of the tests
# that would have written it.
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
  while [ ! -e "$GO_ON" ] && kill -0 "$TESTING" 2>/dev/null; do sleep 0.05; done
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
        self.go_on = folder / "go_on"
        self.folder = folder
        self.cache = folder / "cache"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, code: str = PENALIZE, **changes: str) -> subprocess.Popen[str]:
        """A process, in a group of its own as a shell makes it; its compilation waits."""
        cleared = ("SCNP_", "CXX", "FORCE_CUDA", "CUDA_", "TORCH_CUDA_", "PYTHONPATH")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(cleared)}
        environment = {
            **kept,
            "PYTHONPATH": str(self.site),
            "CXX": str(self.compiler),
            "FINISHED": str(self.finished),
            "STARTED": str(self.started),
            "GO_ON": str(self.go_on),
            "TESTING": str(os.getpid()),
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

    def run(self, code: str = PENALIZE, **changes: str) -> tuple[str, str]:
        """A process whose compilation does not wait."""
        self.go_on.touch()
        return end(self.start(code, **changes))

    def wait_for_compilations(self, count: int) -> None:
        """Until so many links have begun."""
        deadline = time.monotonic() + TIMEOUT
        while self.compilations() < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def compilations(self) -> int:
        return len(self.started.read_text().split()) if self.started.exists() else 0

    def files(self) -> list[Path]:
        return [path for path in self.cache.rglob("*") if path.is_file()]

    def workplaces(self) -> list[Path]:
        return list((self.cache / "scnp_kernels").glob("compiling-*"))


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for success. Returns what it printed, and its complaints."""
    out, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, error
    return out, error


@pytest.fixture
def first_use(tmp_path: Path) -> Iterator[FirstUse]:
    first_use = FirstUse(tmp_path)
    yield first_use
    first_use.go_on.touch()  # compilers that outlived their process end by themselves
    for process in first_use.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_processes_and_threads_that_start_together_all_succeed(first_use: FirstUse) -> None:
    """Two processes of eight threads: each process compiles once, and one binary is left."""
    code = f"""
import torch, threading, scnp_kernels as s
results = []
def call():
    results.append(s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]]), backend="cpu"))
threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(results), all((r == 0.2).all() for r in results))
{PENALIZE}
"""
    processes = [first_use.start(code) for _ in range(2)]
    first_use.wait_for_compilations(2)
    first_use.go_on.touch()
    for process in processes:
        out, _ = end(process)
        assert out.startswith("8 True\n" + str(first_use.site))
        assert out.endswith(GOOD)
    assert first_use.compilations() == 2
    assert len(first_use.files()) == 1
    assert first_use.workplaces() == []


def _make_workplace(cache: Path, name: str, file_changed: float, folder_changed: float) -> None:
    workplace = cache / name
    workplace.mkdir(parents=True)
    (workplace / "object.o").write_text("half of it")
    os.utime(workplace / "object.o", (file_changed, file_changed))
    os.utime(workplace, (folder_changed, folder_changed))


def test_a_killed_compilation_is_recovered_from(first_use: FirstUse) -> None:
    """The next process compiles anew. What was killed long ago is cleared away; what may still be
    at work is not, and nor is anything else."""
    process = first_use.start()
    first_use.wait_for_compilations(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (killed,) = first_use.workplaces()
    assert [file for file in first_use.files() if killed not in file.parents] == []
    cache, now, yesterday = killed.parent, time.time(), time.time() - 25 * 3600
    _make_workplace(cache, "compiling-long-ago", yesterday, yesterday)
    _make_workplace(cache, "compiling-a-file", now, yesterday)
    _make_workplace(cache, "compiling-begun", yesterday, now)
    _make_workplace(cache, "something-else", yesterday, yesterday)
    out, error = first_use.run()
    assert out.endswith(GOOD)
    assert "compiled in" in error
    left = {path.name for path in cache.iterdir() if not path.name.startswith("torch-")}
    assert left == {killed.name, "compiling-a-file", "compiling-begun", "something-else"}


def test_an_interrupted_compilation_can_be_tried_again(first_use: FirstUse) -> None:
    """Ctrl-C: the process lives on, without a lock, a verdict or a folder from the first try."""
    code = f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs of the background
try:
    import torch, scnp_kernels as s
    s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]]))
except KeyboardInterrupt:
    print("interrupted")
os.environ["GO_ON"] = "/"
{PENALIZE}
"""
    process = first_use.start(code)
    first_use.wait_for_compilations(1)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = end(process)
    assert out.startswith("interrupted\n")
    assert out.endswith(GOOD)
    assert first_use.compilations() == 2
    assert len(first_use.files()) == 1


def test_a_fork_in_the_middle_of_a_compilation(first_use: FirstUse) -> None:
    """The child has neither the thread that compiles nor what it holds: it compiles for itself."""
    code = f"""
import os, pathlib, sys, threading, time, torch, scnp_kernels as s
def call():
    return s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]]), backend="cpu").tolist()
torch.set_num_threads(1)
thread = threading.Thread(target=call)
thread.start()
while not os.path.exists(os.environ["STARTED"]):
    time.sleep(0.01)
child = os.fork()
pathlib.Path(os.environ["GO_ON"]).touch()
if child == 0:
    os._exit(0 if call() == call() else 1)
thread.join()
deadline = time.monotonic() + {TIMEOUT / 2}
while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
    if time.monotonic() > deadline:
        os.kill(child, 9)
        sys.exit("the child hangs")
    time.sleep(0.05)
print("child:", ended[1])
"""
    assert end(first_use.start(code))[0] == "child: 0\n"


DAMAGED = {
    "empty": b"",
    "foreign": b"something else",
    "record_cut_short": b'scnp_kernels build record: {"torch": ',
    "record_of_nothing": b"scnp_kernels build record: {}\0",
}
by_damage = pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())


@by_damage
def test_a_damaged_binary_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "_C.so").write_bytes(content)
    assert native.read_build_record(tmp_path / "_C.so") is None
    assert native.read_build_record(tmp_path / "gone.so") is None


@by_damage
def test_a_damaged_installation_is_explained(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"_C{EXTENSION_SUFFIXES[0]}"
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    monkeypatch.setattr(native, "_loaded", None)
    monkeypatch.setattr(native, "_reason", None)  # set by load(), and put back afterwards
    monkeypatch.setenv("SCNP_BUILD", "none")
    wanted = f"{name} is not a build of scnp_kernels"
    assert native.status().startswith(wanted)
    reason = native.load()
    assert reason is not None
    assert reason.startswith(wanted)


def test_a_damaged_binary_in_the_cache_is_replaced(first_use: FirstUse) -> None:
    code = f"""
import scnp_kernels as s
from scnp_kernels.backends.native import first_use as c
directory = c._cache_directory()
directory.mkdir(parents=True)
(directory / {first_use.finished.name!r}).touch()
print(s.backends()["cpu"])
{PENALIZE}
"""
    out, error = first_use.run(code)
    assert "compiles on first use" in out.splitlines()[0]
    assert out.endswith(GOOD)
    assert "compiled in" in error
    (binary,) = first_use.files()
    assert binary.read_bytes() == first_use.finished.read_bytes()


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
    """When the binary is there to be put into it: a file lies where its folder should."""
    code = f"""
from scnp_kernels.backends.native import first_use as c
directory = c._cache_directory()
directory.parent.mkdir(parents=True)
directory.write_text("in the way")
print(directory)
{PENALIZE}
"""
    out, error = first_use.run(code)
    _assert_reference_runs(out, error, f"the cache {out.splitlines()[0]} cannot be written")
    assert first_use.compilations() == 1
    assert first_use.workplaces() == []
