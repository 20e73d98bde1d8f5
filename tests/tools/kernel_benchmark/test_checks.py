"""Promise: what is measured is right, and whoever is not stops the run; memory is counted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import memory
from benchmarks.harness.case import BOOL_MASKS, FLOAT_MASKS, Case, least_bytes
from benchmarks.harness.subject import WrongResultError
from benchmarks.kernels import check, inputs, library_peers, peers, program
from benchmarks.kernels.cases import (
    KORNIA,
    LISTING,
    OPENCV,
    OURS,
    OURS_GATED,
    SERRON,
    SHIFTED_COMPILED,
)
from benchmarks.kernels.implementations import NotAvailableError, build, implementations, why_not
from benchmarks.kernels.measure import Kernels
from tests.oracle import listing
from tests.tools.kernel_benchmark.toys import CASE_2D, CASE_3D, OPTIONS, TOYS


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
