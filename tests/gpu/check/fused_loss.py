"""Rung 1, of the fused loss: its kernels against the composition in float64, by the interpreter.

Proves the algorithm, the masks and the indexing of every path: marches, windows too large for them,
one term, both, the unpenalized one alone. bfloat16 is truncated here where a GPU rounds.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp_dice_ce_loss
from scnp_kernels.backends import in_slabs
from scnp_kernels.backends.triton import dice_ce, launch_table, operators
from scnp_kernels.backends.triton.kernels.dice_ce_forward_pixels import dice_ce_forward_pixels
from tests.fused_loss_cases import (
    FUSED_CASES,
    SPECIAL_CASES,
    FusedCase,
    assert_agrees,
    outcome_by,
    outcome_of,
)
from tests.generators import seeded
from tests.gpu.check import faster_interpreter

faster_interpreter.install()
ALL = [*FUSED_CASES, *SPECIAL_CASES]
# Slabs are many launches, which take long here; what cuts them is tested on the CPU's kernels, too.
ONE_OF_EACH = {
    f.case.name: f for f in FUSED_CASES if f.case.name in ("2d", "volume", "line")
}.values()
WIDE = [fused for fused in ALL if fused.case.name in ("2d", "window_9", "volume_invalid")]


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few programs: one costs the same for any number of lanes, and long marches cost less."""
    monkeypatch.setattr(launch_table, "ANY_WINDOW_LANES", 1024)
    monkeypatch.setattr(launch_table, "_SHORTEST_MARCH", launch_table._LONGEST_MARCH)


def test_kernels_are_interpreted() -> None:
    assert type(dice_ce_forward_pixels).__name__ == "InterpretedFunction"


@pytest.mark.parametrize("fused", ALL, ids=lambda fused: fused.name)
def test_case(fused: FusedCase) -> None:
    assert_agrees(outcome_of("triton", fused), outcome_of("exact", fused), fused)


@pytest.mark.parametrize("fused", WIDE, ids=lambda fused: fused.name)
def test_offsets_of_64_bits(fused: FusedCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels that large planes get, on small ones."""
    for module in (operators, dice_ce):
        monkeypatch.setattr(module, "plane_needs_64_bits", lambda *_: True)
        monkeypatch.setattr(module, "tensor_needs_64_bits", lambda *_: True)
    test_case(fused)


@pytest.mark.parametrize("fused", ONE_OF_EACH, ids=lambda fused: fused.name)
def test_in_place(fused: FusedCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slab by slab over the logits, as short as slabs get: the same bits as elsewhere."""
    monkeypatch.setattr(in_slabs, "_SMALL", 0)

    def backward(of_sums: Tensor, winners: Tensor, logits: Tensor, *rest: Any) -> Tensor:
        overwritten = logits.clone()
        dice_ce.dice_ce_backward_in_place(of_sums, winners, overwritten, *rest)
        return overwritten

    in_its_place = outcome_by(dice_ce.dice_ce_forward, backward, fused, fused.dtype)
    elsewhere = outcome_by(dice_ce.dice_ce_forward, dice_ce.dice_ce_backward, fused, fused.dtype)
    torch.testing.assert_close(
        in_its_place.gradient, elsewhere.gradient, rtol=0, atol=0, equal_nan=True
    )


def test_loss() -> None:
    """Through autograd, with the gradient that a loss sends."""
    logits = torch.randn(2, 3, 4, 9, generator=seeded(0), dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 3, (2, 4, 9), generator=seeded(1))
    gradients = []
    for backend in ("triton", "reference"):
        value = scnp_dice_ce_loss(logits, labels, plain_weight=0.5, backend=backend)
        gradients.append(torch.autograd.grad(value, logits)[0])
    torch.testing.assert_close(*gradients)
