"""Promise: infinities are ordinary, NaN stays among its own, equals go to the first.

The case list holds the same at random against brute force; here every rule stands alone, with its
answer written out.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import DTYPES, Sample
from tests.generators import seeded
from tests.oracle import listing

INF, NAN = math.inf, math.nan
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _row(
    backend: str,
    dtype: torch.dtype,
    logits: list[float],
    target: list[int],
    kernel_size: int = 3,
    valid: list[bool] | None = None,
) -> Outcome:
    """One binary row, forward and backward with a gradient of ones."""
    row = torch.tensor([[logits]], dtype=dtype)
    mask = None if valid is None else torch.tensor([valid])
    sample = Sample(
        row,
        torch.tensor([target]),
        {"kernel_size": kernel_size, "ignore_index": None, "mask": mask},
        torch.ones_like(row),
    )
    return forward_backward(backend, sample)


def _check(outcome: Outcome, penalized: list[float], gradient: list[float]) -> None:
    dtype = outcome.penalized.dtype
    assert_same(outcome.penalized, torch.tensor([[penalized]], dtype=dtype))
    assert_same(outcome.gradient, torch.tensor([[gradient]], dtype=dtype))


@by_dtype
def test_minus_infinity_is_a_real_maximum(backend: str, dtype: torch.dtype) -> None:
    """Background of -inf only: the first one wins, and collects; nothing stands for "empty"."""
    outcome = _row(backend, dtype, [-INF, -INF, -INF, 5.0], [0, 0, 0, 1])
    _check(outcome, [-INF, -INF, -INF, 5.0], [2, 1, 0, 1])
    assert outcome.winners.flatten().tolist() == [1, 0, 0, 1]


@by_dtype
def test_plus_infinity_is_a_real_minimum(backend: str, dtype: torch.dtype) -> None:
    outcome = _row(backend, dtype, [INF, INF, INF, 5.0], [1, 1, 1, 0])
    _check(outcome, [INF, INF, INF, 5.0], [2, 1, 0, 1])
    assert outcome.winners.flatten().tolist() == [1, 0, 0, 1]


@by_dtype
def test_infinities_beat_numbers(backend: str, dtype: torch.dtype) -> None:
    _check(_row(backend, dtype, [1.0, INF, 2.0], [0, 0, 0]), [INF] * 3, [0, 3, 0])
    _check(_row(backend, dtype, [1.0, -INF, 2.0], [1, 1, 1]), [-INF] * 3, [0, 3, 0])
    _check(_row(backend, dtype, [1.0, -INF, 2.0], [0, 0, 0]), [1.0, 2.0, 2.0], [1, 0, 2])
    _check(_row(backend, dtype, [1.0, INF, 2.0], [1, 1, 1]), [1.0, 1.0, 2.0], [2, 0, 1])


@by_dtype
@pytest.mark.parametrize("label", [0, 1], ids=["background", "foreground"])
def test_nan_beats_everything(backend: str, dtype: torch.dtype, label: int) -> None:
    logits = [INF, NAN, -INF, 1.0]
    outcome = _row(backend, dtype, logits, [label] * 4)
    last = 1.0 if label == 0 else -INF
    _check(outcome, [NAN, NAN, NAN, last], [0, 3, 0, 1] if label == 0 else [0, 3, 1, 0])


@by_dtype
@pytest.mark.parametrize("label", [0, 1], ids=["background", "foreground"])
def test_first_nan_wins(backend: str, dtype: torch.dtype, label: int) -> None:
    outcome = _row(backend, dtype, [0.0, NAN, NAN, NAN, 0.0], [label] * 5)
    _check(outcome, [NAN] * 5, [0, 3, 1, 1, 0])
    assert outcome.winners.flatten().tolist() == [2, 1, 0, 0, 0]


@by_dtype
@pytest.mark.parametrize("label", [0, 1], ids=["background", "foreground"])
def test_nan_stays_in_its_class(backend: str, dtype: torch.dtype, label: int) -> None:
    """The listing lets it cross, as max_pool does with NaN times zero; we do not."""
    target = [1 - label, label, label, 1 - label]
    outcome = _row(backend, dtype, [NAN, 2.0, 3.0, NAN], target)
    best = 3.0 if label == 0 else 2.0
    _check(outcome, [NAN, best, best, NAN], [1, 0, 2, 1] if label == 0 else [1, 2, 0, 1])
    crossing = listing(torch.tensor([[[NAN, 2.0]]]), torch.tensor([[[1 - label, label]]]), 3)
    assert crossing.isnan().all()


@by_dtype
def test_nan_stays_in_its_window_and_channel(backend: str, dtype: torch.dtype) -> None:
    logits = torch.zeros(2, 2, 5, 6, dtype=dtype)
    logits[0, 1, 2, 2] = NAN
    target = torch.zeros(2, 5, 6, dtype=torch.long)
    sample = Sample(
        logits, target, {"kernel_size": 3, "ignore_index": None, "mask": None}, logits + 1
    )
    wanted = torch.zeros(logits.shape, dtype=torch.bool)
    wanted[0, 1, 1:4, 1:4] = True
    assert_same(forward_backward(backend, sample).penalized.isnan(), wanted)


@by_dtype
@pytest.mark.parametrize("bits", ["negative", "payload", "signalling"])
def test_every_nan_is_nan(backend: str, dtype: torch.dtype, bits: str) -> None:
    """A NaN's sign and payload do not order it."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    infinity = torch.tensor(INF, dtype=dtype).view(integer)
    value = {
        "negative": torch.tensor(-INF, dtype=dtype).view(integer) + 1,
        "payload": infinity + 5,
        "signalling": infinity + 1,
    }[bits]
    for label in (0, 1):
        row = torch.tensor([[[INF, 0.0, 1.0, -INF]]], dtype=dtype)
        row.view(integer)[0, 0, 1] = value
        assert row.isnan().sum() == 1
        target = torch.full((1, 4), label)
        sample = Sample(
            row, target, {"kernel_size": 3, "ignore_index": None, "mask": None}, row.nan_to_num(1)
        )
        outcome = forward_backward(backend, sample)
        assert outcome.penalized.isnan().flatten().tolist() == [True, True, True, False]
        assert outcome.winners.flatten().tolist()[:3] == [2, 1, 0]


@by_dtype
def test_zeros_of_either_sign_are_equal(backend: str, dtype: torch.dtype) -> None:
    """The first one wins, as in the listing, whatever its sign."""
    for label in (0, 1):
        for zeros in ([-0.0, 0.0, -0.0], [0.0, -0.0, 0.0]):
            outcome = _row(backend, dtype, zeros, [label] * 3)
            _check(outcome, [0.0] * 3, [2, 1, 0])
            row = torch.tensor([[zeros]], dtype=dtype, requires_grad=True)
            listing(row, torch.full((1, 1, 3), label), 3).sum().backward()
            assert row.grad is not None
            assert_same(outcome.gradient, row.grad)


@by_dtype
def test_smallest_differences_count(backend: str, dtype: torch.dtype) -> None:
    """Neighbouring numbers, subnormal ones included, are told apart."""
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    tiny = torch.tensor(smallest, dtype=dtype).item()
    above_one = 1 + torch.finfo(dtype).eps
    _check(_row(backend, dtype, [0.0, tiny, 0.0], [0] * 3), [tiny] * 3, [0, 3, 0])
    _check(_row(backend, dtype, [0.0, -tiny, 0.0], [1] * 3), [-tiny] * 3, [0, 3, 0])
    _check(_row(backend, dtype, [1.0, above_one, 1.0], [0] * 3), [above_one] * 3, [0, 3, 0])
    _check(_row(backend, dtype, [-1.0, -above_one, -1.0], [1] * 3), [-above_one] * 3, [0, 3, 0])


@by_dtype
def test_largest_numbers_are_ordinary(backend: str, dtype: torch.dtype) -> None:
    """No sentinel: the listing's 9999, and the largest finite number, lose to nothing."""
    largest = torch.finfo(dtype).max
    for big in (9999.0, 12345.0, largest):
        value = torch.tensor(big, dtype=dtype).item()
        outcome = _row(backend, dtype, [value, value, 1.0, 1.0], [1, 1, 0, 0])
        _check(outcome, [value, value, 1.0, 1.0], [2, 0, 2, 0])
        outcome = _row(backend, dtype, [-value, -value, 1.0, 1.0], [0, 0, 1, 1])
        _check(outcome, [-value, -value, 1.0, 1.0], [2, 0, 2, 0])


@by_dtype
def test_invalid_nan_stays_alone(backend: str, dtype: torch.dtype) -> None:
    outcome = _row(backend, dtype, [1.0, NAN, 2.0, NAN], [0] * 4, valid=[True, False, True, True])
    _check(outcome, [1.0, NAN, NAN, NAN], [1, 1, 0, 2])


@by_dtype
def test_invalid_pixels_keep_every_bit(backend: str, dtype: torch.dtype) -> None:
    """z stays z: also the sign of a zero, which is promised for nobody else."""
    row: Tensor = _row(backend, dtype, [-0.0, 0.0, -0.0], [0] * 3, valid=[False] * 3).penalized
    assert row.signbit().flatten().tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_half_value_is_in_order(backend: str, dtype: torch.dtype) -> None:
    """All 65,536 bit patterns, each against one like it and one at random."""
    left = torch.arange(2**16).repeat(2)
    right = torch.randint(0, 2**16, (2**17,), generator=seeded(0))
    right[: 2**16] = left[: 2**16] ^ (1 << torch.randint(0, 16, (2**16,), generator=seeded(1)))
    pairs = torch.stack([left, right], -1).to(torch.int16).view(dtype).unsqueeze(1)  # [B, 1, 2]
    for label, wanted in ((0, pairs.max(-1)), (1, pairs.min(-1))):
        target = torch.full((2**17, 2), label, dtype=torch.uint8)
        assert_same(
            scnp(pairs, target, backend=backend), wanted.values.unsqueeze(-1).expand(pairs.shape)
        )
