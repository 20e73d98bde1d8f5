"""Promise: times are taken in processes of their own, by a clock, and compared round by round."""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.harness.case import Case
from benchmarks.harness.clocks import GpuClock
from benchmarks.harness.processes import Elsewhere
from benchmarks.harness.subject import Rotation, Subject
from benchmarks.harness.turns import Effort, Measured
from benchmarks.harness.worker import Prepared, Sample, Worker
from benchmarks.kernels import compare, inputs, machine, results
from benchmarks.kernels.cases import COPY, OURS, Group, groups
from benchmarks.kernels.implementations import build
from benchmarks.kernels.measure import Kernels, measure_group, members_and_copies
from benchmarks.kernels.results import BACKWARD, BOTH, Record
from tests.tools.kernel_benchmark.toys import CASE_2D, TOYS


def test_implementations_measure_in_processes_of_their_own() -> None:
    group = Group("2D", "a question", ((CASE_2D, (OURS,)),))
    said: list[str] = []
    ours, copy = measure_group(group, Effort(0, 2, 2), 1, 0, said.append)
    assert (ours.implementation, copy.implementation) == (OURS, COPY)
    assert ours.rounds == copy.rounds == [0, 1]
    assert ours.saved_bytes == CASE_2D.logits
    assert len(said) == 1


def test_what_goes_wrong_in_a_process_is_told() -> None:
    name = "no such implementation"
    worker = Elsewhere(name, Worker, partial(Kernels, 0), name, 1)
    with pytest.raises(RuntimeError, match="KeyError"):
        worker.ask("prepare", CASE_2D)
    worker.process.kill()
    with pytest.raises(RuntimeError, match="no such implementation ended with status -9"):
        worker.ask("prepare", CASE_2D)
    worker.close()


@pytest.mark.skipif(os.name != "posix", reason="the compiler is a shell script")
def test_a_compiler_that_speaks_no_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "c++"
    script.write_bytes(b"#!/bin/sh\necho 'compilateur \xe9trange 1.0'\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", f"{script} -O2")
    assert machine.compiler() == "compilateur \N{REPLACEMENT CHARACTER}trange 1.0"
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    assert machine.compiler() == "none"


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4)), (64, (1, 2, 4, 8, 16))]
)
def test_threads_go_up_to_the_cores(
    cores: int, counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical: cores * (1 + logical))
    assert machine.thread_counts() == counts


def test_inputs_past_a_huge_cache_leave_room_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=16 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    for cache, past in ((8 << 20, 16 << 20), (480 << 20, 64 << 20)):
        monkeypatch.setattr(machine, "caches", lambda size=cache: {"L3": size})
        assert machine.past_cache_bytes() == past


class Graphics:
    """What of torch.cuda a clock asks, as a log; every event is a second after the last."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def _sleep(self, _cycles: int) -> None:
        self.log.append("hold")

    def synchronize(self) -> None:
        self.log.append("wait")

    def Event(self, enable_timing: bool) -> Graphics.Mark:  # noqa: N802
        assert enable_timing
        return Graphics.Mark(self)

    class Mark:
        """A CUDA event."""

        def __init__(self, graphics: Graphics) -> None:
            self.graphics = graphics
            self.seconds = 0

        def record(self) -> None:
            self.graphics.log.append("event")
            self.seconds = self.graphics.log.count("event")

        def elapsed_time(self, later: Graphics.Mark) -> float:
            assert self.graphics.log[-1] == "wait"
            return 1e3 * (later.seconds - self.seconds)


@pytest.mark.parametrize("hold", [True, False])
def test_events_are_a_clock(hold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graphics = Graphics()
    subject = Subject(build(OURS, CASE_2D), Rotation([inputs.Buffer(CASE_2D, 0)]))
    monkeypatch.setattr(torch, "cuda", graphics)
    clock = GpuClock(hold)
    for _ in range(2):
        assert subject.seconds_both(clock) == (1.0, 1.0)
        assert 0 < clock.launching() < 1000
    of_one = [*["hold"] * hold, "event", "event", "event", "wait"]
    assert graphics.log == of_one * 2


def _record(rounds: list[int], both: list[float]) -> Record:
    samples = [Sample(seconds / 4, seconds / 2, seconds) for seconds in both]
    return Record.of("a group", Measured(CASE_2D, OURS, Prepared({}, 1.0), 1.0, rounds, samples))


def test_ratios_of_interleaved_rounds() -> None:
    fast = _record([0, 1, 2, 3], [1.0, 2.0, 1.0, 4.0])
    slow = _record([1, 3], [20.0, 48.0])  # sat out the even rounds
    found = results.ratio(slow, fast, BOTH)
    assert found.of_medians == pytest.approx(34 / 1.5)
    assert found.median_of_rounds == pytest.approx((10 + 12) / 2)
    assert found.rounds == 2
    assert fast.milliseconds(BACKWARD) == pytest.approx(750)
    assert fast.quartiles(BOTH) == pytest.approx((1000, 2500))


def test_a_copy_is_measured_beside_every_kind_of_logits() -> None:
    for group in groups(TOYS):
        records = [
            Record.of(group.name, Measured(*member, Prepared({}, 1.0), 1.0))
            for member in members_and_copies(group)
        ]
        run = results.Results({}, records)
        for record in records:
            assert run.copy_beside(record).implementation == COPY


def test_two_installations_are_compared_in_turns() -> None:
    """The same one twice: the same bits, and a ratio for every round."""
    case = Case((1, 2, 9, 17), dtype=torch.bfloat16)
    ratios = compare.compare(sys.executable, sys.executable, case, seconds=0.05)
    assert len(ratios["forward"]) == len(ratios["both"]) >= 7
    assert all(ratio > 0 for values in ratios.values() for ratio in values)


FINDER = """
import sys
from importlib.machinery import PathFinder

class Editable:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, [FOLDER]) if name == "scnp_kernels" else None

sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Editable())
"""


def test_an_editable_installation_is_measured_and_not_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an installation is found by a finder of its own, which is asked after all paths."""
    installed = tmp_path / "elsewhere" / "scnp_kernels" / "__init__.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    folder = repr(str(installed.parents[1]))
    (tmp_path / "sitecustomize.py").write_text(FINDER.replace("FOLDER", folder))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = Elsewhere("installed", importlib.import_module, "scnp_kernels")
    try:
        assert process.ask("__getattribute__", "__file__") == str(installed)
    finally:
        process.close()


def test_gains_over_another_installation() -> None:
    medians = {("2D", False): 0.5, ("3D", False): 0.8, ("2D", True): 0.61}
    told = list(compare.gains("avx2", medians))
    assert [line.split()[0] for line in told] == ["reached", "MISSED", "MISSED", "-"]
    assert told[0] == " reached  2D, scnp cpu, against BEFORE: 0.500x, bar ≤ 0.55x"
    assert list(compare.gains("avx512", medians)) == []


def test_installations_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter("ab")

    def ask(_self: Elsewhere, *_question: object) -> Prepared:
        return Prepared({"digest": next(digests)}, 1.0)

    monkeypatch.setattr(Elsewhere, "ask", ask)
    with pytest.raises(compare.DifferentBitsError, match="1x1x4x4"):
        compare.compare(sys.executable, sys.executable, Case((1, 1, 4, 4)), seconds=0.05)
