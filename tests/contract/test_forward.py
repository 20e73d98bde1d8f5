"""Promise: the forward pass equals the listing bit for bit, and the winners are the first best."""

from __future__ import annotations

import pytest
import torch

from scnp_kernels import scnp
from tests.calls import assert_same, forward_backward
from tests.cases import CASES, DTYPES, Case, expected, reading
from tests.oracle import listing

WITH_LISTING = [case for case in CASES if case.has_listing]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.mark.parametrize("case", WITH_LISTING, ids=lambda case: case.name)
def test_equals_the_listing(backend: str, case: Case) -> None:
    for dtype in DTYPES:
        sample = case.make(dtype)
        one_hot = reading(sample).foreground
        penalized = scnp(sample.logits, sample.target, **sample.kwargs, backend=backend)
        wanted = listing(sample.logits, one_hot, case.kernel_size)
        assert_same(penalized, wanted)
        assert torch.equal(penalized, wanted)


@by_name
def test_equals_brute_force(backend: str, case: Case) -> None:
    for dtype in DTYPES:
        outcome = forward_backward(backend, case.make(dtype))
        wanted = expected(case, dtype)
        assert_same(outcome.penalized, wanted.penalized)
        if case.winners_are_numbered:
            assert_same(outcome.winners.long(), wanted.winners)


@by_name
def test_arguments_are_left_alone(backend: str, case: Case) -> None:
    sample, untouched = case.make(torch.float32), case.make(torch.float32)
    forward_backward(backend, sample)
    assert_same(sample.logits, untouched.logits)
    assert_same(sample.target, untouched.target)
    assert_same(sample.incoming, untouched.incoming)
    for given, before in (
        (sample.kwargs["mask"], untouched.kwargs["mask"]),
        (sample.kwargs.get("gate"), untouched.kwargs.get("gate")),
    ):
        assert given is None or before is not None
        if given is not None and before is not None:
            assert_same(given, before)


def test_windows_that_need_four_bytes(backend: str) -> None:
    """33 x 33 x 33 = 35,937 taps, and no smaller window would do: every pixel sees all others."""
    size = 17
    logits = torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(0))
    logits = logits.requires_grad_()
    target = (torch.arange(size**3) % 3 == 0).view(1, size, size, size)
    penalized = scnp(logits, target, kernel_size=99, backend=backend)
    lowest, highest = logits[target.unsqueeze(1)].min(), logits[~target.unsqueeze(1)].max()
    assert_same(penalized, torch.where(target.unsqueeze(1), lowest, highest))
    penalized.sum().backward()
    wanted = torch.zeros_like(logits)
    wanted[logits == lowest] = target.sum().float()
    wanted[logits == highest] = (~target).sum().float()
    assert logits.grad is not None
    assert_same(logits.grad, wanted)
