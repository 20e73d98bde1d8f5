"""Rung 1: the contract's case list, every kernel, on the CPU by triton's interpreter.

Proves the algorithm, the masks and the indexing, bit for bit with the oracle. It runs kernels as
Python: it says nothing of what the compiler accepts, and truncates where a GPU rounds to bfloat16,
so bfloat16 gradients are compared as they are added up, in float32 (semantics.py has the rounding).

Every case runs in one of the four dtypes, in turn; those about special values run in two, and each
special value meets all four among its three shapes.
SCNP_SHARD=i/n takes every n-th case.
"""

from __future__ import annotations

import os

import pytest
import torch

from scnp_kernels.backends import registry as backend_registry
from scnp_kernels.backends.triton import launch_table, operators
from scnp_kernels.backends.triton.kernels.forward_march import forward_march
from scnp_kernels.rules.window import number_of_taps, winner_dtype
from tests.calls import assert_same, forward_backward
from tests.cases import CASES, DTYPES, LOGITS, Case, expected
from tests.generators import labels, masks, seeded
from tests.gpu.check import faster_interpreter
from tests.oracle import brute_force_gather, brute_force_gradient

faster_interpreter.install()

RAGGED = [
    Case("ragged_columns_2d", "two blocks of columns", (1, 3, 3, 131)),
    Case("ragged_rows_2d", "five marches of rows", (1, 2, 19, 3), 5),
    Case("ragged_rows_2d_7", "marches shorter than the window", (1, 1, 9, 5), 7),
    Case("ragged_rows_3d", "two blocks of strips", (1, 1, 2, 19, 3)),
    Case("ragged_columns_3d", "two blocks of columns", (1, 1, 2, 2, 67), target=masks()),
    Case("ragged_planes_3d", "three marches of planes", (1, 2, 9, 3, 4), 5),
    Case("ragged_channels", "the last group of channels is incomplete", (2, 5, 4, 9)),
    Case("ragged_flat", "windows of one plane", (1, 2, 2, 13, 5), (1, 3, 3)),
    Case("ragged_tall", "windows of one pixel a plane", (1, 2, 9, 2, 3), (5, 1, 1)),
    Case("ragged_int8", "", (2, 3, 3, 130), target=labels(torch.int8)),
]
ALL = [*CASES, *RAGGED]
SHARD, SHARDS = map(int, os.environ.get("SCNP_SHARD", "0/1").split("/"))


def _parameters() -> list[tuple[Case, torch.dtype]]:
    chosen = []
    for number, case in enumerate(ALL):
        chosen.append((case, DTYPES[number % len(DTYPES)]))
        if case in LOGITS:
            chosen.append((case, DTYPES[(number + 2) % len(DTYPES)]))
    return chosen[SHARD::SHARDS]


@pytest.fixture(autouse=True)
def _many_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few programs of the kernels for any window: one costs the same for any size."""
    monkeypatch.setattr(launch_table, "ANY_WINDOW_LANES", 1024)


def test_kernels_are_interpreted() -> None:
    device = torch.device("cpu")
    assert backend_registry.choose("triton", device).name == "triton"
    assert type(forward_march).__name__ == "InterpretedFunction"


@pytest.mark.parametrize(
    ("case", "dtype"), _parameters(), ids=lambda value: getattr(value, "name", str(value))
)
def test_case(case: Case, dtype: torch.dtype) -> None:
    sample, wanted = case.make(dtype), expected(case, dtype)
    outcome = forward_backward("triton", sample)
    assert_same(outcome.penalized, wanted.penalized)
    if case.winners_are_numbered:
        assert_same(outcome.winners.long(), wanted.winners)
    wide = sample.incoming if dtype == torch.float64 else sample.incoming.float()
    added_up = torch.empty_like(outcome.winners, dtype=wide.dtype)
    if dtype in (torch.float16, torch.bfloat16):
        operators.scatter_into(
            added_up, sample.incoming, outcome.winners, _window_of(case, outcome.winners)
        )
        assert_same(added_up, brute_force_gradient(wide, wanted.winners, case.kernel_size))
    if dtype != torch.bfloat16:
        gradient = brute_force_gradient(sample.incoming, wanted.winners, case.kernel_size)
        assert_same(outcome.gradient, gradient)
    if case.winners_are_numbered:
        values = torch.randn(case.shape, generator=seeded(1), dtype=torch.float64).to(dtype)
        gathered = operators.gather(values, outcome.winners, case.window)
        assert_same(gathered, brute_force_gather(values, wanted.winners, case.kernel_size))


WIDE = [case for case in ALL if case.name in ("window_3_1d", "window_3_2d", "mask_3d", "nan_17")]


@pytest.mark.parametrize("case", WIDE[SHARD::SHARDS], ids=lambda case: case.name)
def test_offsets_of_64_bits(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels that large planes get, on small ones."""
    monkeypatch.setattr(operators, "plane_needs_64_bits", lambda *_: True)
    monkeypatch.setattr(operators, "tensor_needs_64_bits", lambda *_: True)
    test_case(case, torch.float32)


def _window_of(case: Case, winners: torch.Tensor) -> tuple[int, ...]:
    """Return the window that winners are numbered in: beyond 32,767 taps, cut to the image."""
    if case.winners_are_numbered:
        return case.window
    window = tuple(
        min(side, 2 * size - 1) for side, size in zip(case.window, winners.shape[2:], strict=True)
    )
    assert winner_dtype(window) == winners.dtype
    assert number_of_taps(window) < number_of_taps(case.window)
    return window
