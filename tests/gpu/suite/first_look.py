"""One case of every operator, dtype and dimension on every backend, against the reference.

The first minute on a GPU: do the kernels compile, run and compute the right thing at all?
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.device import DEVICE, backend_of
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import DTYPES, Case, Sample
from tests.fused_loss_cases import FusedCase, assert_agrees, outcome_of
from tests.gpu.suite.on_device import NAMES, sample_on_gpu

SHAPES = {"1d": (2, 3, 301), "2d": (2, 3, 37, 150), "3d": (2, 3, 9, 21, 70)}


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: torch's deterministic mode would run other kernels than a training does."""


@cache
def wanted(dimensions: str, dtype: torch.dtype) -> tuple[Sample, Outcome]:
    """The input, and what the reference makes of it on the CPU."""
    sample = Case("", "", SHAPES[dimensions]).make(dtype)
    return sample, forward_backward("reference", sample)


def _forward(backend: str, sample: Sample, right: Outcome) -> list[tuple[Tensor, Tensor]]:
    outcome = forward_backward(backend, sample)
    return [(outcome.penalized, right.penalized), (outcome.winners, right.winners)]


def _scatter(backend: str, sample: Sample, right: Outcome) -> list[tuple[Tensor, Tensor]]:
    winners, window = right.winners.to(DEVICE), [3] * (sample.logits.dim() - 2)
    scatter = torch.ops.scnp_kernels.scatter
    return [(scatter(sample.incoming, winners, window, backend), right.gradient)]


def _gather(backend: str, sample: Sample, right: Outcome) -> list[tuple[Tensor, Tensor]]:
    winners, window = right.winners.to(DEVICE), [3] * (sample.logits.dim() - 2)
    gather = torch.ops.scnp_kernels.gather
    # The penalized logits are the logits at the winners.
    return [(gather(sample.logits, winners, window, backend), right.penalized)]


OPERATORS: dict[str, Any] = {"forward": _forward, "scatter": _scatter, "gather": _gather}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dimensions", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_first_look(name: str, operator: str, dimensions: str, dtype: torch.dtype) -> None:
    sample, right = wanted(dimensions, dtype)
    for got, expected in OPERATORS[operator](backend_of(name), sample_on_gpu(sample), right):
        assert_same(got.cpu(), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dimensions", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_first_look_at_the_loss(name: str, dimensions: str, dtype: torch.dtype) -> None:
    """Both passes of the fused loss (composed, on backends that have none)."""
    fused = FusedCase(Case("", "", SHAPES[dimensions]), dtype, of_plain=True)
    assert_agrees(
        outcome_of(backend_of(name), fused, DEVICE.type), outcome_of("exact", fused), fused
    )
