"""The run of a GPU's day, rehearsed in small: what goes wrong is reported, nothing is lost.

``python -m tests.gpu.day.rehearsal`` rehearses all of it. Here the stages are programs of a line or
two, without torch; pytest's part and the measurements run on their own.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.gpu import rows, tables
from benchmarks.kernels import peers
from tests.gpu.day import report
from tests.gpu.day.__main__ import Run, fresh
from tests.gpu.day.stages import BUDGET, Choice, Program, Stage, stages

ROOT = Path(__file__).resolve().parents[2]
# What a program of these stages may call: one line of JSON, as the real ones write it.
PRELUDE = """
import json, os, signal, sys, time
def row(**told):
    told = {"kind": "check", "program": "p", "reason": "", "time": time.time(), **told}
    with open(os.environ["SCNP_ROWS"], "a") as file:
        file.write(json.dumps(told) + "\\n")
def measured(name, **told):
    row(kind="measurement", name=name, table="scnp alone", case="c", implementation="scnp", **told)
"""


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: filling memory would itself be measured."""


def program(name: str, code: str, seconds: float = 20, **options: Any) -> Program:
    return Program(name, (sys.executable, "-c", PRELUDE + code), seconds, **options)


def stage(letter: str, *programs: Program, seconds: float = 20, **options: Any) -> Stage:
    return Stage(letter, f"title of {letter}", seconds, tuple((p,) for p in programs), **options)


def run(folder: Path, *table: Stage, budget: float = 60) -> tuple[int, str]:
    """Run the stages; return how much went wrong, and the report."""
    fresh(folder)
    wrong = Run(Choice(folder, budget), list(table)).all()
    return wrong, (folder / report.PAGE).read_text(encoding="utf-8")


# --- the run ------------------------------------------------------------------------------------


def test_stages_that_pass(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    passing = program("p", 'print("hello from a"); row(name="one", state="passed")')
    wrong, page = run(tmp_path, stage("a", passing), stage("b", passing))
    assert wrong == 0
    assert "Finished in" in page
    assert page.count("| ended | 1 | 0 |") == 2
    assert "What failed" not in page
    assert "hello from a" in capfd.readouterr().out  # streamed to the terminal
    assert "hello from a" in (tmp_path / "a-p.log").read_text(encoding="utf-8")


def test_a_failed_check_is_told_whole_and_the_run_goes_on(tmp_path: Path) -> None:
    reason = "x = 1\\nE   AssertionError: " + "wide " * 60 + "end"
    failing = program("p", f'row(name="one", state="failed", reason="{reason}"); sys.exit(1)')
    passing = program("p", 'row(name="two", state="passed")')
    wrong, page = run(tmp_path, stage("a", failing), stage("b", passing))
    assert wrong == 1
    assert "wide end" in page
    assert "`stage a: one`" in page
    assert "| b | title of b | ended | 1 | 0 |" in page


def test_failures_of_one_cause_stand_together(tmp_path: Path) -> None:
    code = 'for n in range(40): row(name=f"test {n}", state="failed", reason="E   Boom: no")'
    wrong, page = run(tmp_path, stage("a", program("p", code)))
    assert wrong == 40
    assert page.count("Boom: no") == 2  # its heading, and its reason
    assert "### 40: Boom: no" in page


def test_a_stage_that_hangs(tmp_path: Path) -> None:
    """It is ended at its limit with all its children, and its log says where it was."""
    woken = tmp_path / "woken"  # would be written if it were waited for
    child = 'import subprocess; print(subprocess.Popen(["sleep", "600"]).pid, flush=True)'
    stuck = f'def stuck(): time.sleep(600); open({str(woken)!r}, "w")\nstuck()'
    code = f'{child}\nrow(name="one", state="started")\n{stuck}'
    passing = program("p", 'row(name="two", state="passed")')
    wrong, page = run(tmp_path, stage("a", program("p", code, 2)), stage("b", passing))
    assert not woken.exists()
    assert wrong == 2
    assert "was ended at its limit of 2 s" in page
    assert "in stuck" in page
    assert "**killed at its limit** | 0 | 0 | 1 |" in page
    assert "| b | title of b | ended | 1 | 0 |" in page
    assert has_ended(tmp_path / "a-p.log")


def has_ended(log: Path) -> bool:
    """Has the process ended, or is ending, whose number stands in the log on a line of its own?"""
    (pid,) = (line for line in log.read_text(encoding="utf-8").splitlines() if line.isdigit())
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or ") Z " in status.read_text(encoding="utf-8"):
            return True
        time.sleep(0.05)
    return False


def test_a_program_that_dies(tmp_path: Path) -> None:
    code = 'row(name="one", state="started"); os.kill(os.getpid(), signal.SIGSEGV)'
    wrong, page = run(tmp_path, stage("a", program("p", code)))
    assert wrong == 2
    assert "ended with status -11" in page
    assert "## What began and has not ended\n\n- `stage a: one`" in page


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    """As where an import fails: no rows, but the end of its log."""
    wrong, page = run(tmp_path, stage("a", program("p", "import missing_module_of_nobody", 20)))
    # Status 1 stands for single failures too; without a row it is told all the same.
    assert wrong == 1
    assert "No module named 'missing_module_of_nobody'" in page


def test_a_measurement_that_breaks_off_is_begun_again(tmp_path: Path) -> None:
    code = """
from benchmarks.gpu import rows
from pathlib import Path
told = {r["name"] for r in rows.read(Path(os.environ["SCNP_ROWS"]))}
for name in ("one", "two", "three"):
    if name not in told:
        measured(name, state="started")
        if name == "two": sys.exit(77)
        measured(name, state="failed" if name == "three" else "measured", reason="Boom", **FIGURES)
sys.exit(3)
"""
    figures = dict.fromkeys(("forward_ms", "backward_ms", "both_ms", "host_ms"), 1.0)
    ranges = {f"{key}_{end}": 1.0 for key in figures for end in ("low", "high")}
    memory = dict.fromkeys(("forward_peak", "kept", "backward_peak"), 5)
    least = {"least_forward": 10, "least_backward": 10, "backend": "triton"}
    code = f"FIGURES = {figures | ranges | memory | least}\n{code}"
    wrong, page = run(tmp_path, stage("e", program("p", code, restarts=True)))
    assert wrong == 2
    assert "1.000 (1.000 to 1.000)" in page
    assert "| two | ended its process | see the log |" in page
    assert "| three | failed | Boom |" in page


def test_what_runs_beside(tmp_path: Path) -> None:
    """A stage waits for what it needs; a stage that measures ends the rest."""
    slow = program("build", 'time.sleep(1); open("made", "w").close()'.replace(
        '"made"', repr(str(tmp_path / "made"))))  # fmt: skip
    woken = tmp_path / "woken"  # would be written if it were waited for
    endless = program("warm", f'time.sleep(600); open({str(woken)!r}, "w")', 900)
    made = f"os.path.exists({str(tmp_path / 'made')!r})"
    after = program("p", f'row(name="one", state="passed" if {made} else "failed")')
    quick = program("p", 'row(name="zero", state="passed")')
    wrong, page = run(
        tmp_path,
        stage("a", quick, beside=(slow, endless)),
        stage("c", after, needs="build"),
        stage("e", quick, alone=True),
    )
    assert wrong == 0, page
    assert not woken.exists()


def test_the_budget_ends_what_does_not_fit(tmp_path: Path) -> None:
    sleeping = program("p", "time.sleep(600)")
    wrong, page = run(tmp_path, stage("a", sleeping), stage("b", sleeping), budget=5)
    assert wrong > 0
    assert "**killed at its limit**" in page
    assert "| b | title of b | not begun |" in page


DRIVER = """
import signal, sys
from pathlib import Path
from tests.gpu.day.__main__ import Run, _interrupted, fresh
from tests.gpu.day.stages import Choice
from tests.gpu.test_gpu_day import program, stage
folder = Path(sys.argv[1])
fresh(folder)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, _interrupted)
code = 'row(name="one", state="passed"); print(os.getpid(), flush=True); time.sleep(600)'
child = program("p", code)
Run(Choice(folder, 60), [stage("a", child)]).all()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_a_killed_run_leaves_a_report_that_says_so(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "report"
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], cwd=ROOT)
    try:
        while not rows.read(folder / "a.jsonl"):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        process.send_signal(number)
        process.wait(20)
    page = (folder / report.PAGE).read_text(encoding="utf-8")
    if number == signal.SIGTERM:
        assert "**Not finished: interrupted (SIGTERM)" in page
    else:
        assert "**Not finished.** Stage a was running" in page
    subprocess.run(
        [sys.executable, "-m", "tests.gpu.day.report", str(folder)], cwd=ROOT, check=True
    )
    page = (folder / report.PAGE).read_text(encoding="utf-8")
    assert "| 1 | 0 |" in page  # what was known by then
    assert has_ended(folder / "a-p.log")


def test_an_earlier_report_is_moved_aside(tmp_path: Path) -> None:
    run(tmp_path, stage("a", program("p", 'row(name="first", state="failed")')))
    _, page = run(tmp_path, stage("a", program("p", 'row(name="second", state="passed")')))
    assert "first" not in page
    (before,) = tmp_path.glob("before-*")
    assert "first" in (before / report.PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("budget", [240, BUDGET])
def test_the_limits_fit_the_budget(tmp_path: Path, budget: float) -> None:
    table = stages(Choice(tmp_path, budget))
    assert [stage.letter for stage in table] == list(report.LETTERS)
    # The last stage gets what the others leave; were all of them to take all their time, at least
    # three quarters of what it asks for.
    before = sum(stage.seconds for stage in table[:-1])
    assert before + 0.75 * table[-1].seconds <= budget
    for one in table:
        for step in one.steps:
            for part in step:
                assert part.command[0] == sys.executable


# --- pytest's part ------------------------------------------------------------------------------

TESTS = """
import os, time, pytest
broken = []
if os.environ["PYTEST_XDIST_WORKER"] != "gw0":  # the first one also imports torch
    os.environ["SCNP_TEST_SECONDS"] = "1"

def test_1_passes(): pass
def test_2_is_wrong(): assert 1065353216 == 1065353217
def test_3_illegal_access():
    from benchmarks.gpu import device
    broken.append("CUDA error: an illegal memory access was encountered (planted)")
    device.plant_sticky_error(broken[0])
    raise RuntimeError(broken[0])
def test_4_passes_again():
    assert not broken  # in another process
def test_5_hangs(): time.sleep(600)
def test_6_passes_again(): pass
def test_7_is_skipped(): pytest.skip("needs 22 GiB")
"""


def test_rows_of_pytest(tmp_path: Path) -> None:
    """A sticky error and a hang end their worker only; each test has a row with its true reason."""
    file = tmp_path / "test_planted.py"
    file.write_text(TESTS, encoding="utf-8")
    told, log = tmp_path / "b.jsonl", tmp_path / "b.log"
    variables = {"SCNP_ROWS": str(told), "SCNP_LOG": str(log), "SCNP_PROGRAM": "p",
                 "SCNP_TEST_SECONDS": "120", "SCNP_REHEARSAL": "reference"}  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib -q", "-p",
               "no:cacheprovider", "-p", "tests.gpu.day.pytest_rows", "-n", "1",
               "--max-worker-restart", "10", "--rootdir", str(tmp_path), str(file)]  # fmt: skip
    variables["PYTHONPATH"] = str(ROOT)
    subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False)
    checks = {row["name"].partition("::")[2]: row for row in report._checks(rows.read(told))}
    assert {name: row["state"] for name, row in checks.items()} == {
        "test_1_passes": "passed",
        "test_2_is_wrong": "failed",
        "test_3_illegal_access": "failed",
        "test_4_passes_again": "passed",
        "test_5_hangs": "failed",
        "test_6_passes_again": "passed",
        "test_7_is_skipped": "skipped",
    }
    assert "1065353217" in checks["test_2_is_wrong"]["reason"]
    assert "illegal memory access" in checks["test_3_illegal_access"]["reason"]
    assert "crashed while running" in checks["test_5_hangs"]["reason"]
    assert "needs 22 GiB" in checks["test_7_is_skipped"]["reason"]
    said = log.read_text(encoding="utf-8")
    assert "the GPU answers this process no more" in said
    assert "test_5_hangs" in said  # the traceback of the hang


# --- the measurements ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    """benchmarks.gpu with the CPU in the GPU's place; its modules are imported anew."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name in _of_torch()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SCNP_REHEARSAL", "reference")
        # Compiling takes longer than everything else here.
        patched.setattr(peers, "compiled", lambda function, _: function)
        yield importlib.import_module("benchmarks.gpu.program")
    for name in _of_torch():
        sys.modules.pop(name, None)
    sys.modules.update(before)


def _of_torch() -> list[str]:
    need_none = (rows.__name__, tables.__name__)
    modules = (name for name in sys.modules if name.startswith("benchmarks.gpu."))
    return [name for name in modules if name not in need_none]


@pytest.mark.parametrize(
    ("part", "count", "told"),
    [
        ("penalization", 5, "shifted compiled"),
        ("losses", 10, "fused as nnU-Net's"),
        ("training_step", 1, "listing + plain"),
    ],
)
def test_measurements_to_the_last_table(
    gpu: ModuleType, tmp_path: Path, part: str, count: int, told: str
) -> None:
    file = tmp_path / "e.jsonl"
    module = importlib.import_module(f"benchmarks.gpu.{part}")
    assert gpu.run(islice(module.jobs(), count), file, 600) == 0
    found = tables.last_of_each(rows.read(file))
    assert [row["state"] for row in found] == ["measured"] * count, found
    page = "\n".join(tables.sections(found))
    assert told in page
    if part != "training_step":
        assert "| yes |" in page or "| **no** |" in page  # a goal was found


def test_a_wrong_result_has_no_time(gpu: ModuleType, tmp_path: Path) -> None:
    penalization = importlib.import_module("benchmarks.gpu.penalization")
    file = tmp_path / "e.jsonl"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(penalization, "scnp", lambda logits, *_: logits * 1.0000001)
        jobs = list(islice(penalization.jobs(), 3))
        assert gpu.run(jobs, file, 600) == gpu.FAILED
    copy, ours, listing = tables.last_of_each(rows.read(file))
    assert copy["state"] == listing["state"] == "measured"
    assert ours["state"] == "failed"
    assert "WrongResultError: scnp, values" in ours["reason"]
    assert "forward_ms" not in ours


def test_the_time_is_up(gpu: ModuleType, tmp_path: Path) -> None:
    losses = importlib.import_module("benchmarks.gpu.losses")
    file = tmp_path / "e.jsonl"
    assert gpu.run(islice(losses.jobs(), 3), file, -1) == 0
    assert [row["state"] for row in rows.read(file)] == ["not reached"] * 3
    assert "Not reached when the time was up: 3" in "\n".join(tables.sections(rows.read(file)))


NCU = (
    f"#!{sys.executable}"
    + """
print("==PROF== Connected to process 7")
print('"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"')
for number in range(4):
    about = f'"{number}","7","kernel_{number}","Command line profiler metrics"'
    print(about + ',"lts__t_sectors_srcunit_tex.sum","sector","1,000"')
    print(about + ',"gpu__time_duration.sum","nsecond","2,500"')
    print(about + ',"launch__registers_per_thread","register/thread","n/a"')
"""
)


def test_counters(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an ncu that prints what ncu prints; and where there is none."""
    counters = importlib.import_module("benchmarks.gpu.counters")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    ncu = tmp_path / "bin" / "ncu"
    ncu.parent.mkdir()
    ncu.write_text(NCU, encoding="utf-8")
    ncu.chmod(ncu.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{ncu.parent}{os.pathsep}{os.environ['PATH']}")
    file = tmp_path / "e.jsonl"
    assert gpu.run(counters.jobs(), file, 600) == 0
    (row,) = tables.last_of_each(rows.read(file))
    kernel = row["kernels"][3]
    assert kernel["kernel"] == "3D backward"
    assert kernel["microseconds"] == 2.5
    assert kernel["sectors_over_least"] > 0
    assert "registers" not in kernel
    page = "\n".join(tables.sections([row]))
    assert "| 3D backward | kernel_3 |" in page
    ncu.write_text("#!/bin/sh\necho '==ERROR== ERR_NVGPUCTRPERM'\nexit 1\n", encoding="utf-8")
    (job,) = counters.jobs()
    assert "ERR_NVGPUCTRPERM" in job.measure()["reason"]
    ncu.unlink()
    if counters.find_ncu() is None:
        assert job.measure()["state"] == "not there"


BARE = """
import importlib, sys
from importlib.machinery import PathFinder
ABSENT = ("cpuinfo", "cripser", "filelock", "matplotlib", "monai", "pandas", "PIL", "psutil",
          "scipy", "skimage", "tifffile", "tqdm")
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest, **options):
        known = name.split(".")[0] not in ABSENT
        return PathFinder.find_spec(name, *rest, **options) if known else None
sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_a_machine_with_nothing_but_torch_and_pytest() -> None:
    folders = ("benchmarks/gpu", "benchmarks/harness", "tests/gpu/day")
    names = [
        f"{folder.replace('/', '.')}.{file.stem}"
        for folder in folders
        for file in (ROOT / folder).glob("*.py")
        if file.stem not in ("__init__", "__main__", "dry_count")  # which needs triton
    ]
    command = [sys.executable, "-c", BARE, *names]
    environment = {**os.environ, "SCNP_REHEARSAL": "reference"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_row_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows.append(file, {"kind": "fact", "name": "whole", "value": 1})
    with file.open("a") as end:
        end.write(json.dumps({"kind": "fact", "name": "cut"})[:-4])
    assert [row["name"] for row in rows.read(file)] == ["whole"]
