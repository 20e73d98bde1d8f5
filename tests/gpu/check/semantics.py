"""Rung 4: the compiler's own IR, executed on the CPU by ttsem.

    python -m ttsem.sanitize pytest tests/gpu/check/semantics.py

Proves that no launch reads or writes outside of its tensors, that no two programs touch the same
element while one of them writes it, and that nothing unwritten is read (fresh memory holds NaN);
that what the compiler made of the kernels computes the same as the oracle; and that sums in half
types are rounded once, to nearest, which the interpreter cannot show.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from scnp_kernels.backends.triton import dice_ce, operators
from scnp_kernels.rules.target import Reading
from scnp_kernels.rules.window import winner_dtype
from tests import generators as g
from tests.calls import assert_same
from tests.cases import Case, expected
from tests.fused_loss_cases import FusedCase, assert_agrees, outcome_by, outcome_of
from tests.oracle import brute_force_gather, brute_force_gradient

IGNORING: dict[str, Any] = {"target": g.labels(ignored=-1), "ignore_index": -1}
CASES = [
    Case("1d", "", (2, 3, 133), 5),
    Case("2d", "", (2, 3, 7, 131)),
    Case("2d_5", "", (1, 2, 9, 11), 5, logits=g.tied),
    Case("2d_7", "", (1, 1, 5, 9), 7, logits=g.some_nan),
    Case("2d_flat", "", (1, 2, 5, 9), (1, 3)),
    Case("2d_marches", "", (1, 1, 21, 6)),
    Case("2d_masks", "", (2, 3, 5, 7), target=g.masks()),
    Case("2d_uint8", "", (2, 3, 5, 7), target=g.labels(torch.uint8)),
    Case("2d_float", "", (2, 3, 5, 7), target=g.labels(torch.float16)),
    Case("2d_invalid", "", (2, 3, 5, 7), mask=g.valid_pixels(), **IGNORING),
    Case("2d_gate", "", (2, 3, 5, 7), gate=g.valid_pixels(0.5)),
    Case(
        "2d_gate_invalid",
        "",
        (2, 3, 5, 7),
        mask=g.valid_pixels(),
        gate=g.valid_pixels(0.5),
        **IGNORING,
    ),
    Case("2d_channels_last", "", (2, 3, 5, 7), layout=g.channels_last),
    Case("2d_sliced", "", (2, 3, 5, 7), layout=g.every_second, target_layout=g.every_second),
    Case("3d", "", (1, 2, 5, 7, 67)),
    Case("3d_rows", "", (1, 1, 3, 19, 5)),
    Case("3d_5", "", (1, 1, 6, 9, 5), 5),
    Case("3d_anisotropic", "", (1, 2, 3, 9, 5), (1, 3, 3)),
    Case("3d_invalid", "", (1, 2, 4, 5, 6), mask=g.valid_pixels(), **IGNORING),
    Case("3d_gate", "", (1, 2, 4, 5, 6), gate=g.valid_pixels(0.5), gate_layout=g.every_second),
    Case("any_window_gate", "", (1, 2, 9, 11), 17, gate=g.valid_pixels(0.5)),
    Case("any_window_1d", "", (1, 2, 140), 9),
    Case("any_window_2d", "", (1, 2, 9, 21), 17, mask=g.valid_pixels(), **IGNORING),
    Case("any_window_3d", "", (1, 1, 4, 5, 7), 7, target=g.masks(torch.uint8)),
]
FUSED = [
    FusedCase(Case("fused_2d", "", (2, 3, 5, 131)), of_plain=True),
    FusedCase(Case("fused_many", "", (1, 9, 5, 7), target=g.masks()), torch.bfloat16,
              softmax=False, of_plain=True),
    FusedCase(Case("fused_many_classes", "", (2, 9, 5, 7), mask=g.valid_pixels(), **IGNORING)),
    FusedCase(Case("fused_3d", "", (1, 2, 4, 9, 6), mask=g.valid_pixels(), **IGNORING),
              torch.float16, of_plain=True),
    FusedCase(Case("fused_gate", "", (2, 3, 5, 7), gate=g.valid_pixels(0.5)), of_plain=True),
    FusedCase(Case("fused_any_window", "", (1, 3, 4, 5, 7), 7), torch.float64, of_plain=True),
    FusedCase(Case("fused_lean", "", (2, 3, 9, 7)), of_penalized=False, of_plain=True),
    FusedCase(Case("fused_focal", "", (2, 3, 5, 131)), of_plain=True, gamma=2.5),
    FusedCase(Case("fused_focal_any_window", "", (1, 3, 4, 5, 7), 7), of_plain=True, gamma=2.0),
    FusedCase(Case("fused_focal_lean", "", (2, 3, 9, 7)), of_penalized=False, of_plain=True,
              gamma=2.0),
]  # fmt: skip
# One dtype each, in turn: how a dtype compares is the interpreter's rung.
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _forward(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    sample = case.make(dtype)
    channels = sample.logits.shape[1]
    masks = sample.target.shape == sample.logits.shape
    return operators.forward(
        sample.logits,
        sample.target,
        sample.kwargs["mask"],
        sample.kwargs.get("gate"),
        case.window,
        Reading(masks, 0 if channels > 1 else 1, max(2, channels), case.ignore_index, False),
    )


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: CASES[n].name)
def test_case(number: int) -> None:
    case, dtype = CASES[number], DTYPES[number % len(DTYPES)]
    wanted = expected(case, dtype)
    penalized, winners = _forward(case, dtype)
    assert_same(penalized, wanted.penalized)
    assert_same(winners.long(), wanted.winners)
    sample = case.make(dtype)
    for values in (sample.incoming, sample.incoming.to(torch.bfloat16)):
        gradient = operators.scatter(values, winners, case.window)
        assert_same(gradient, brute_force_gradient(values, wanted.winners, case.kernel_size))
    gathered = operators.gather(sample.incoming, winners, case.window)
    assert_same(gathered, brute_force_gather(sample.incoming, wanted.winners, case.kernel_size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sums_of_half_values_round_once(dtype: torch.dtype) -> None:
    """Every even pixel sums itself and its right neighbour.

    The sum is rounded to nearest, ties to even, subnormal and overflowing ones included.
    """
    count = 2**15
    bits = g.uniform_integers(-(2**15), 2**15, (1, 1, count), g.seeded(0)).to(torch.int16)
    near = bits[..., ::4] ^ g.uniform_integers(0, 2**11, (1, 1, count // 4), g.seeded(1)).short()
    bits[..., 1::4] = near  # half of the pairs of about the same size
    values = bits.view(dtype)
    winners = torch.tensor([1, 0] * (count // 2), dtype=winner_dtype((3,))).view(1, 1, count)
    gradient = operators.scatter(values, winners, (3,))
    wanted = torch.zeros_like(values)
    wanted[..., ::2] = (values[..., ::2].float() + values[..., 1::2].float()).to(dtype)
    assert_same(gradient, wanted)


@pytest.mark.parametrize("fused", FUSED, ids=lambda fused: fused.name)
def test_fused_loss(fused: FusedCase) -> None:
    outcome = outcome_by(dice_ce.dice_ce_forward, dice_ce.dice_ce_backward, fused, fused.dtype)
    assert_agrees(outcome, outcome_of("exact", fused), fused)
