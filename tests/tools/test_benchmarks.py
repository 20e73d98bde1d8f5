"""The suite that measures the kernels works: on toy images, and without compiling the peers."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import readme, tables
from benchmarks.harness import memory
from benchmarks.harness.case import BOOL_MASKS, FLOAT_MASKS, Case, least_bytes
from benchmarks.harness.clocks import GpuClock
from benchmarks.harness.processes import Elsewhere
from benchmarks.harness.subject import Rotation, Subject, WrongResultError
from benchmarks.harness.turns import Effort, Measured
from benchmarks.harness.worker import Prepared, Sample, Worker
from benchmarks.kernels import (
    bars,
    check,
    compare,
    inputs,
    library_peers,
    machine,
    peers,
    program,
    results,
)
from benchmarks.kernels import tables as kernel_tables
from benchmarks.kernels.cases import (
    COPY,
    KORNIA,
    LISTING,
    OPENCV,
    OURS,
    OURS_GATED,
    SERRON,
    SHIFTED_COMPILED,
    Group,
    Shapes,
    groups,
)
from benchmarks.kernels.implementations import NotAvailableError, build, implementations, why_not
from benchmarks.kernels.measure import Kernels, measure_group, members_and_copies
from benchmarks.kernels.pictures import PICTURES
from benchmarks.kernels.results import BACKWARD, BOTH, FORWARD, RECORDING, Record
from tests.oracle import listing

CASE_2D = Case((1, 2, 12, 10))
CASE_3D = Case((1, 2, 5, 6, 7))
TOYS = Shapes(
    paper_2d=CASE_2D.shape,
    paper_3d=CASE_3D.shape,
    sizes=((1, 2, 8, 8), (1, 2, 4, 4, 4)),
    windows_3d=(1, 2, 4, 4, 4),
    classes_spatial=(8, 8),
    classes=(2, 3),
    one_channel=((1, 1, 8, 8),),
    small=(1, 2, 6, 6),
    classes_of_loss=(2, 3),
    many_classes=(2, 117),
    many_classes_spatial=((6, 7), (2, 3, 4)),
    pooled=((1, 3, 4, 5, 6),),
)
OPTIONS = [
    "--one-process",
    "--seconds",
    "0",
    "--least-rounds",
    "2",
    "--most-rounds",
    "2",
    "--threads",
    "1",
]


@pytest.fixture(autouse=True)
def uncompiled_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes longer than everything else here."""
    monkeypatch.setattr(peers, "compiled", lambda function, *_: function)
    monkeypatch.setattr(inputs, "MOST_BUFFERS", 2)


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: filling memory would itself be measured."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run of everything."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(peers, "compiled", lambda function, *_: function)
        monkeypatch.setattr(inputs, "MOST_BUFFERS", 2)
        monkeypatch.setattr(program, "QUICK", TOYS)
        (folder / "page.md").write_text(PAGE, encoding="utf-8")
        options = ["--quick", "--out", str(folder), "--readme", str(folder / "page.md"), *OPTIONS]
        assert program.main(options) == 0
    return folder


PAGE = """before
<!-- benchmark:bars begin -->
<!-- benchmark:bars end -->
between
<!-- benchmark:pictures begin -->old<!-- benchmark:pictures end -->
after
"""


# --- what is measured ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CASE_2D, CASE_3D], ids=lambda case: case.name)
def test_every_implementation_agrees_with_the_listing(case: Case) -> None:
    buffer = inputs.Buffer(case, seed=1)
    answer = check.expected(case, buffer)
    assert torch.equal(answer.penalized, listing(buffer.logits, buffer.one_hot(), 3))
    assert set(implementations()) >= {LISTING, SHIFTED_COMPILED, OURS}
    for name in implementations():
        if why_not(name, case) is None:
            check.check(name, build(name, case), buffer, answer, bitwise=name.startswith("scnp"))


@pytest.mark.parametrize("name", [KORNIA, SERRON])
@pytest.mark.parametrize("case", [CASE_2D, Case((2, 3, 9, 8), 5)], ids=lambda case: case.name)
def test_libraries_agree_with_the_listing(name: str, case: Case) -> None:
    _need(name)
    subject = Kernels(0)(name, case)  # checks values bit for bit, and the gradient
    (buffer,) = subject.rotation.take()
    wanted = listing(buffer.logits, buffer.one_hot(), case.kernel_size)
    assert torch.equal(subject.forward(buffer), wanted)


@pytest.mark.parametrize("case", [CASE_2D, Case((2, 3, 9, 8), 5)], ids=lambda case: case.name)
def test_opencv_writes_two_planes_without_a_gradient(case: Case) -> None:
    _need(OPENCV)
    subject = Kernels(0)(OPENCV, case)
    assert subject.backward is None
    (buffer,) = subject.rotation.take()
    eroded, dilated = subject.forward(buffer)
    values, padding = buffer.logits.detach(), case.kernel_size // 2
    windows = F.pad(values, [padding] * 4, value=math.nan)
    for axis in (2, 3):
        windows = windows.unfold(axis, case.kernel_size, 1)
    windows = windows.flatten(4)
    assert torch.equal(eroded, windows.nan_to_num(math.inf).amin(-1))
    assert torch.equal(dilated, windows.nan_to_num(-math.inf).amax(-1))
    with pytest.raises(WrongResultError, match="OpenCV"):
        check.check_planes(OPENCV, torch.stack([eroded, dilated + 1e-6]), buffer)


def _need(name: str) -> None:
    reason = library_peers.missing(name)
    if reason is not None:
        pytest.skip(reason)


def test_a_peer_that_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "QUICK", TOYS)
    monkeypatch.setattr(library_peers, "find_spec", lambda _module: None)
    assert program.main(["--quick", "--groups", "2D", "--out", str(tmp_path), *OPTIONS]) == 0
    told = f"{OPENCV}: not measured, the package opencv-python-headless is not installed"
    assert told in capsys.readouterr().out
    page = (tmp_path / program.TABLES_NAME).read_text(encoding="utf-8")
    assert told in page
    assert f"{SERRON}: not measured, the package serron is not installed" in page
    with pytest.raises(NotAvailableError, match="kornia is not installed"):
        build(KORNIA, CASE_2D)


def test_a_gate_is_right_where_closed_pixels_lend_their_logits() -> None:
    """With three classes; a closed pixel's own gradient is added to others in another order."""
    case = Case((1, 3, 20, 20, 20))
    subject = Kernels(0)(OURS_GATED, case)
    (buffer,) = subject.rotation.take()
    assert not torch.equal(subject.forward(buffer), build(OURS, case)(buffer))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [FLOAT_MASKS, BOOL_MASKS])
@pytest.mark.parametrize("channels_last", [False, True])
def test_ours_agrees_on_every_kind_of_input(
    dtype: torch.dtype, kind: str, channels_last: bool
) -> None:
    case = Case((2, 3, 9, 8), 5, dtype, kind, channels_last)
    buffer = inputs.Buffer(case, seed=2)
    assert buffer.target(kind).stride() == buffer.logits.stride()
    check.check(OURS, build(OURS, case), buffer, check.expected(case, buffer), bitwise=True)


def test_labels_form_regions_of_every_class() -> None:
    labels = inputs.Buffer(Case((1, 3, 96, 96)), seed=0).labels
    assert labels.unique().tolist() == [0, 1, 2]
    same = labels[:, 1:] == labels[:, :-1]
    assert same.double().mean() > 0.8


def test_buffers_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_BUFFERS", 64)
    case = Case((1, 1, 10, 10))  # 400 bytes of logits: five of them are 2,000
    pool = inputs.Inputs(past_cache=2000)
    taken = [pool.of(case).take()[0] for _ in range(6)]
    assert len(set(map(id, taken))) == 5
    assert taken[5] is taken[0]


def test_a_wrong_result_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(logits: torch.Tensor, one_hot: torch.Tensor, kernel_size: int) -> torch.Tensor:
        return listing(logits, one_hot, kernel_size) + 1e-6

    monkeypatch.setattr(program, "QUICK", TOYS)
    monkeypatch.setattr(peers, "compiled_listing", lambda *_: wrong)
    assert program.main(["--quick", "--groups", "small", "--out", str(tmp_path), *OPTIONS]) == 1
    assert "listing compiled" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_gradient_is_found() -> None:
    buffer = inputs.Buffer(CASE_2D, seed=0)
    answer = check.expected(CASE_2D, buffer)
    twice = replace(answer, gradient=answer.gradient * (1 + 1e-3))
    for name in (OURS, SHIFTED_COMPILED):
        with pytest.raises(WrongResultError, match="gradient"):
            check.check(name, build(name, CASE_2D), buffer, twice, bitwise=name == OURS)


def test_rounding_is_that_of_the_cases_own_window() -> None:
    """Cases of all windows share their inputs; the sums of a large one are rounded more often."""
    buffer, case = inputs.Buffer(CASE_2D, seed=0), replace(CASE_2D, kernel_size=11)
    answer = check.expected(case, buffer)
    rounded = replace(answer, gradient=answer.gradient + 100 * torch.finfo(torch.float32).eps)
    ours = build(OURS, case)
    check.check(OURS, ours, buffer, rounded, bitwise=False)
    with pytest.raises(WrongResultError, match="gradient"):
        check.check(OURS, ours, buffer, replace(rounded, taps=9), bitwise=False)


# --- memory -------------------------------------------------------------------------------------


def test_known_memory() -> None:
    case = Case((1, 2, 64, 64))
    buffer = inputs.Buffer(case, seed=0)

    def pooled(buffer: inputs.Buffer) -> torch.Tensor:
        # Keeps its input, which the caller holds, and int64 indices. Nothing else is needed.
        return F.max_pool2d(buffer.logits, 3, 1, 1)

    assert memory.saved_for_backward(pooled, buffer, buffer.held()) == 8 * case.logits
    assert memory.peak_of_tensors(pooled, buffer) == 8 * case.logits
    ours = build(OURS, case)
    assert memory.saved_for_backward(ours, buffer, buffer.held()) == case.logits
    assert memory.peak_of_tensors(ours, buffer) == case.logits
    listing = build(LISTING, case)
    buffer.one_hot()
    assert memory.saved_for_backward(listing, buffer, buffer.held()) == 32 * case.logits


@pytest.mark.parametrize("name", [OURS, "SCNPDiceCELoss"])
def test_known_memory_of_large_results(name: str) -> None:
    """They lie in memory that is used again, past torch's allocator."""
    case = Case((1, 4, 1024, 1025), of_loss=name != OURS)
    buffer, ours = inputs.Buffer(case, seed=0), build(name, case)
    winners = pytest.approx(case.logits, rel=0.01)  # and a few sums of the loss
    assert memory.saved_for_backward(ours, buffer, buffer.held()) == winners
    assert memory.peak_of_tensors(ours, buffer) == winners


def test_the_peak_counts_what_an_operator_allocates_inside() -> None:
    values = torch.randn(1, 1, 64, 64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        F.max_pool2d(values, 3, 1, 1)  # its indices are freed before it returns
    assert memory.peak_of(profiler) == (4 + 8) * values.numel()


def test_least_bytes() -> None:
    assert least_bytes(Case((1, 2, 10, 10))) == (200 * (4 + 4 + 1) + 100 * 8, 200 * 9)
    half = Case((1, 2, 10, 10), 17, torch.bfloat16, BOOL_MASKS)  # 289 taps: winners of 2 bytes
    assert least_bytes(half) == (200 * (2 + 2 + 2 + 1), 200 * 6)


# --- what a run leaves behind -------------------------------------------------------------------


def test_a_run_measures_everything(out: Path) -> None:
    with (out / results.CSV_NAME).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = {
        (group.name, "x".join(map(str, case.shape)), str(case.kernel_size), name)
        for group in groups(TOYS)
        for case, names in group.members
        for name in names
    }
    found = {tuple(r[k] for k in ("group", "shape", "kernel_size", "implementation")) for r in rows}
    assert wanted <= found
    assert {row["phase"] for row in rows} == {FORWARD, RECORDING, BACKWARD, BOTH}
    for row in rows:
        assert int(row["rounds"]) >= 2
        assert float(row["median_ms"]) > 0
        assert float(row["ratio_to_copy"]) > 0
        if row["implementation"] in implementations():
            assert float(row["gb_per_s"]) > 0
            assert float(row["saved_bytes_per_logit"]) > 0
            assert int(row["bytes_moved_at_least"]) > 0


def test_every_file_is_there_and_every_bar_judged(out: Path) -> None:
    names = {results.JSON_NAME, results.CSV_NAME, program.TABLES_NAME, *PICTURES}
    assert {file.name for file in out.iterdir()} == {*names, "page.md"}
    for name in PICTURES:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    facts = json.loads((out / results.JSON_NAME).read_text(encoding="utf-8"))["facts"]
    assert facts["threads"] == "1"
    assert all(facts.values())
    verdicts = bars.verdicts(results.read_results(out))
    assert len(verdicts) == 27
    assert all(verdict.reached is not None for verdict in verdicts)


def test_each_instruction_set_has_bars_of_its_own(out: Path) -> None:
    run = results.read_results(out)
    limits = {}
    for capability in ("avx512", "avx2"):
        facts = {"CPU capability of the kernels": capability}
        verdicts = bars.verdicts(results.Results(facts, run.records))
        limits[capability] = {verdict.bar: verdict.limit for verdict in verdicts}
    fast, slow = limits["avx512"], limits["avx2"]
    differ = {bar: (fast.get(bar), limit) for bar, limit in slow.items() if fast.get(bar) != limit}
    plain = "SCNPDiceCELoss against plain Dice+CE, the faster of eager and compiled"
    assert differ == {
        "2D, against the listing": ("≥ 25x", "≥ 30x"),
        "2D, against the listing compiled": ("≥ 7x", "≥ 12x"),
        "3D, against the listing": ("≥ 45x", "≥ 55x"),
        "3D, against the listing compiled": ("≥ 40x", "≥ 60x"),
        f"2D, {plain}": ("≤ 0.5x", "≤ 0.25x"),
        f"3D, {plain}": ("≤ 0.3x", "≤ 0.15x"),
        "2D, against allocating and filling the three results": (None, "≤ 1.5x"),
    }
    assert set(fast) <= set(slow)


def test_threads_and_classes_in_their_tables(out: Path) -> None:
    run = results.read_results(out)
    for record in run.records:
        if record.group in ("threads", "many classes"):
            # Half the time with twice the threads; as much for each logit.
            time = 8.0 / record.threads if record.threads else 2.0 * record.logits
            record.times = {phase: [time] * len(record.rounds) for phase in record.times}
    verdicts = {verdict.bar: verdict for verdict in bars.verdicts(run)}
    curves = kernel_tables.threads_table(run)
    assert (
        "| 1x2x12x10 | **scnp cpu** | 0.008 (0.008 to 0.008) | 0.004 (0.004 to 0.004), 2x |"
        in curves
    )
    assert "| 1x2x5x6x7 | **SCNPDiceCELoss** |" in curves
    for name in (OURS, "SCNPDiceCELoss"):
        verdict = verdicts[f"{name}, speed-up from one thread to two, 2D; 3D"]
        assert (verdict.measured, verdict.reached) == ("2x (2x); 2x (2x)", True)
    classes = kernel_tables.classes_table(run)
    assert classes.count("| 2000 | 1x |") == 4
    verdict = verdicts["3D, SCNPDiceCELoss of 117 classes against 2, time per logit"]
    assert (verdict.measured, verdict.reached) == ("1x (1x)", True)
    for record in run.in_group("many classes", "SCNPDiceCELoss"):
        if record.shape[1] == 117:
            record.times = {p: [1.5 * t for t in times] for p, times in record.times.items()}
    verdicts = {verdict.bar: verdict for verdict in bars.verdicts(run)}
    assert not verdicts["3D, SCNPDiceCELoss of 117 classes against 2, time per logit"].reached


def test_peers_and_windows_in_their_tables(out: Path) -> None:
    run = results.read_results(out)
    peers_table = kernel_tables.peers_table(run)
    assert peers_table.count("| listing |") == 3
    assert f"| 1x2x12x10, w = 3 | {OPENCV} |" in peers_table
    assert "reads no labels, has no gradient" in peers_table
    assert "1x3x4x5x6, w = 3, channels_last | listing |" in peers_table
    windows = kernel_tables.windows_table(run).splitlines()
    assert len(windows) == 2 + 5
    assert windows[-1].endswith("| - | - |")  # the listing is too slow for w = 11
    assert "w = 3" in windows[2]


def test_the_report_can_be_made_again(out: Path) -> None:
    page = (out / "page.md").read_text(encoding="utf-8")
    assert "| 2D, against the listing |" in page
    assert "(./latency_by_window.png)" in page
    assert "old" not in page
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.suffix != ".png"}
    options = ["--report-only", "--out", str(out), "--readme", str(out / "page.md")]
    assert program.main(options) == 0
    for name, content in before.items():
        assert (out / name).read_bytes() == content


def test_a_report_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert results.JSON_NAME in capsys.readouterr().err


def test_each_instruction_set_has_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ("2D", "3D", "loss 2D", "loss 3D")
    few = tuple(group for group in groups(TOYS) if group.name in told)
    page = tmp_path / "page.md"
    names = ("headline", "machine", "latency", "latency-avx2", "loss-portable")
    edges = [f"<!-- benchmark:{name} {edge} -->" for name in names for edge in ("begin", "end")]
    page.write_text("\n".join(edges), encoding="utf-8")
    monkeypatch.setattr(program, "groups", lambda _: few)
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(program, "PAGES", (page,))
    assert program.main(OPTIONS) == 0
    (stored,) = results.stored_runs(tmp_path).values()
    assert (tmp_path / stored.capability / results.JSON_NAME).exists()
    shutil.rmtree(tmp_path / stored.capability)
    for capability, factor in (("avx2", 3), ("avx512", 1)):
        facts = {**stored.facts, "CPU capability of the kernels": capability}
        facts["CPU capability of torch"] = "AVX512"
        times = [{p: [factor * t for t in ts] for p, ts in r.times.items()} for r in stored.records]
        records = [replace(r, times=t) for r, t in zip(stored.records, times, strict=True)]
        results.write_results(tmp_path / capability, results.Results(facts, records))
    assert program.main(["--report-only"]) == 0
    text = page.read_text(encoding="utf-8")
    columns = ", AVX512 | compared with, AVX512 | this package, AVX2 | compared with, AVX2 |"
    assert f"| forward + backward, float32 | this package{columns}" in text
    assert f"<sub>AVX512: {stored.facts['CPU']}, 1 threads" in text
    assert f"AVX2: {stored.facts['CPU']} (torch with AVX512), 1 threads" in text
    assert "|  | AVX512 | AVX2 |" in text
    assert "No whole run of the kernels for PORTABLE is stored yet." in text
    of_fast, of_slow = (run.find("2D", OURS) for run in results.stored_runs(tmp_path).values())
    for run in (of_fast, of_slow):
        low, high = run.quartiles(BOTH)
        assert text.count(tables.between(run.milliseconds(BOTH), low, high)) >= 1


def test_replacing_blocks() -> None:
    once = readme.replace_blocks(PAGE, {"bars": "new \\1", "machine": "has no markers"})
    assert "new \\1" in once
    assert "no markers" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert readme.replace_blocks(once, {"bars": "new \\1"}) == once
    assert readme.replace_blocks(once, {"bars": ""}) == readme.replace_blocks(PAGE, {"bars": ""})


# --- processes ----------------------------------------------------------------------------------


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


# --- arithmetic of the samples ------------------------------------------------------------------


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
