"""The fused loss on every backend that should run on this GPU, against the reference in float64.

Then what only a GPU can show: the same bits every time, CUDA graphs, no synchronisation, and memory
far below that of a plain loss.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from benchmarks.gpu import device
from benchmarks.gpu.device import DEVICE, backend_of
from scnp_kernels import SCNPDiceCELoss, scnp_dice_ce_loss
from tests.cases import Case
from tests.fused_loss_cases import (
    FUSED_CASES,
    SPECIAL_CASES,
    FusedCase,
    FusedOutcome,
    assert_agrees,
    outcome_of,
)
from tests.gpu.suite.on_device import FUSED, NAMES
from tests.gpu.suite.references import kept

SHAPES: tuple[tuple[int, ...], ...] = ((2, 3, 301, 517), (1, 2, 45, 67, 131), (1, 19, 65, 130))
if device.REHEARSAL:
    SHAPES = ((2, 3, 31, 57), (1, 2, 9, 13, 21), (1, 19, 6, 13))
LARGE = [
    FusedCase(Case(f"large_{len(shape) - 2}d_{size}", "", shape, size), dtype, of_plain=True)
    for shape in SHAPES
    for size in (3, 5, 9)
    for dtype in (torch.float32, torch.bfloat16)
]


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: torch's deterministic mode fills memory by kernels that CUDA graphs would keep."""


# Two of them share a name: what is kept is kept by number.
ALL = list(enumerate([*FUSED_CASES, *SPECIAL_CASES, *LARGE]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("number", "fused"), [pytest.param(*one, id=one[1].name) for one in ALL])
def test_case(name: str, number: int, fused: FusedCase) -> None:
    exact = FusedOutcome(*kept(f"fused {number}", lambda: outcome_of("exact", fused)))
    assert_agrees(outcome_of(backend_of(name), fused, DEVICE.type), exact, fused)


def _inputs(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    logits = torch.randn(shape, device=DEVICE, generator=generator).requires_grad_()
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), device=DEVICE, generator=generator)
    return logits, labels


def _value_and_gradient(
    name: str, logits: Tensor, labels: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    options = {"backend": backend_of(name), "plain_weight": 1, **options}
    value = scnp_dice_ce_loss(logits, labels, **options)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("shape", [(2, 3, 257, 131), (2, 12, 65, 67), (1, 2, 19, 37, 67)])
def test_same_bits_every_time(name: str, shape: tuple[int, ...], activation: str) -> None:
    logits, labels = _inputs(shape)
    first = _value_and_gradient(name, logits, labels, activation=activation)
    for _ in range(10):
        again = _value_and_gradient(name, logits, labels, activation=activation)
        assert all(torch.equal(got, wanted) for got, wanted in zip(again, first, strict=True))


@pytest.mark.parametrize("name", FUSED)
def test_nothing_waits_for_the_gpu(name: str) -> None:
    logits, labels = _inputs((2, 3, 65, 67))
    _value_and_gradient(name, logits, labels)  # compiles
    with device.nothing_waits():
        _value_and_gradient(name, logits, labels)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("plain_weight", [0, 1])
def test_memory(name: str, plain_weight: float) -> None:
    """Winners, what a pixel's classes have in common, partial sums: no copy of the logits."""
    logits, labels = _inputs((2, 4, 512, 512))
    _value_and_gradient(name, logits, labels, plain_weight=plain_weight)
    gc.collect()
    device.reset_peak()
    before = device.requested_bytes()
    _, gradient = _value_and_gradient(name, logits, labels, plain_weight=plain_weight)
    peak = device.peak_of_requested_bytes() - before - gradient.untyped_storage().nbytes()
    pixels = labels.numel()
    common = 3 * 4 * (1 + plain_weight)
    assert peak <= 1.05 * pixels * (logits.shape[1] + common)
    assert device.REHEARSAL or peak >= pixels * logits.shape[1]  # the winners, at least


@pytest.mark.parametrize("name", FUSED)
def test_graph(name: str) -> None:
    """Captured once, replayed on other logits and labels."""
    logits, labels = _inputs((2, 3, 65, 67))
    captured, replay = device.captured(lambda: _value_and_gradient(name, logits, labels))
    other_logits, other_labels = _inputs((2, 3, 65, 67), seed=1)
    with torch.no_grad():
        logits.copy_(other_logits)
    labels.copy_(other_labels)
    replay()
    wanted = _value_and_gradient(name, other_logits, other_labels)
    for got, right in zip(captured, wanted, strict=True):
        assert torch.equal(got, right)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(name: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    criterion = SCNPDiceCELoss(plain_weight=1, backend=backend_of(name))
    compiled = torch.compile(criterion, fullgraph=True, dynamic=dynamic, backend=device.COMPILER)
    for shape in ((2, 3, 8, 10), (3, 4, 11, 12)):
        logits, labels = _inputs(shape)
        values = [function(logits, labels) for function in (compiled, criterion)]
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))


@pytest.mark.parametrize("name", FUSED)
def test_opcheck(name: str) -> None:
    logits, labels = _inputs((2, 3, 6, 5))
    how = ([3, 3], False, 0, 3, None, False, True, True, True, 0.0, backend_of(name))
    arguments = (labels, None, None, *how)
    operators = torch.ops.scnp_kernels
    opcheck(operators.dice_ce_forward.default, (logits, *arguments))
    sums, winners = operators.dice_ce_forward(logits.detach(), *arguments)
    opcheck(
        operators.dice_ce_backward.default,
        (torch.ones_like(sums), winners, logits.detach(), *arguments),
    )
