"""Promise: the gradient equals the listing's bit for bit, added one by one in raster order."""

from __future__ import annotations

import pytest
import torch

from scnp_kernels import scnp
from tests.calls import assert_same, forward_backward
from tests.cases import CASES, DTYPES, Case, Sample, expected, reading
from tests.generators import Layout, as_made, channels_last, seeded
from tests.oracle import brute_force_gather, brute_force_gradient, listing

WITH_LISTING = [case for case in CASES if case.has_listing]
WIDE = (torch.float32, torch.float64)
HALF = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("case", WITH_LISTING, ids=lambda case: case.name)
def test_equals_the_listing(backend: str, case: Case) -> None:
    for dtype in WIDE:
        sample = case.make(dtype)
        logits = sample.logits.detach().requires_grad_()
        penalized = listing(logits, reading(sample).foreground, case.kernel_size)
        (wanted,) = torch.autograd.grad(penalized, logits, sample.incoming)
        gradient = forward_backward(backend, sample).gradient
        assert_same(gradient, wanted)
        assert torch.equal(gradient, wanted)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_brute_force(backend: str, case: Case) -> None:
    for dtype in DTYPES:
        sample = case.make(dtype)
        winners = expected(case, dtype).winners
        wanted = brute_force_gradient(sample.incoming, winners, case.kernel_size)
        assert_same(forward_backward(backend, sample).gradient, wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_winner_collects_hundreds(backend: str, dtype: torch.dtype) -> None:
    """343 contributions to one voxel: in half types any rounding in between would show."""
    shape = (1, 1, 9, 10, 11)
    logits = torch.zeros(shape, dtype=dtype)
    logits[0, 0, 4, 5, 5] = 1
    target = torch.zeros(1, 9, 10, 11, dtype=torch.uint8)
    incoming = torch.randn(shape, generator=seeded(0), dtype=torch.float64).to(dtype) + 1
    sample = Sample(
        logits, target, {"kernel_size": 7, "ignore_index": None, "mask": None}, incoming
    )
    gradient = forward_backward(backend, sample).gradient
    sent = incoming[0, 0, 1:8, 2:9, 2:9].flatten()
    assert sent.numel() == 343
    total = torch.zeros((), dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    stepwise = torch.zeros((), dtype=dtype)
    for value in sent:
        total = total + value.to(total.dtype)
        stepwise = stepwise + value
    assert gradient[0, 0, 4, 5, 5] == total.to(dtype)
    if dtype in HALF:  # else the case could not tell one rounding from many
        assert stepwise != total.to(dtype)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_types_do_not_overflow_on_the_way(backend: str, dtype: torch.dtype) -> None:
    """Half the contributions sum up far beyond the type's range, the others bring them back."""
    largest = torch.finfo(dtype).max
    share = largest / 2 if dtype == torch.float16 else largest / 8
    logits = torch.zeros(1, 1, 9, dtype=dtype)
    logits[0, 0, 4] = 1
    incoming = torch.full((1, 1, 9), share, dtype=dtype)
    incoming[0, 0, 5:] = -share
    incoming[0, 0, 4] = 1
    sample = Sample(
        logits,
        torch.zeros(1, 9, dtype=torch.uint8),
        {"kernel_size": 9, "ignore_index": None, "mask": None},
        incoming,
    )
    gradient = forward_backward(backend, sample).gradient
    wanted = torch.zeros((), dtype=torch.float32)
    for value in incoming.flatten():
        wanted = wanted + value.float()
    assert gradient[0, 0, 4] == wanted.to(dtype)
    assert gradient.isfinite().all()


def test_order_of_addition_is_raster_order(backend: str) -> None:
    """1e8 + 1 - 1e8 is 0 or 1 in float32: the order of the additions decides."""
    for values, wanted in (((1e8, 1.0, -1e8), 0.0), ((1e8, -1e8, 1.0), 1.0)):
        for axis in range(3):
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = 3
            logits = torch.zeros(shape)
            logits.view(-1)[1] = 1
            target = torch.zeros(1, *shape[2:], dtype=torch.long)
            incoming = torch.tensor(values).view(shape)
            sample = Sample(
                logits, target, {"kernel_size": 3, "ignore_index": None, "mask": None}, incoming
            )
            gradient = forward_backward(backend, sample).gradient
            assert gradient.flatten().tolist() == [0.0, wanted, 0.0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_invalid_pixels_keep_their_gradient(backend: str, case: Case) -> None:
    """Straight through: exactly what came in, from nobody else."""
    sample = case.make(torch.float32)
    invalid = ~reading(sample).valid
    gradient = forward_backward(backend, sample).gradient
    assert_same(gradient[invalid], sample.incoming[invalid])


def test_infinite_and_nan_gradients_reach_the_winner_only(backend: str) -> None:
    logits = torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0]]])
    target = torch.zeros(1, 7, dtype=torch.long)
    incoming = torch.tensor([[[torch.inf, 1.0, 2.0, 3.0, 1.0, torch.nan, 4.0]]])
    arguments = {"kernel_size": 3, "ignore_index": None, "mask": None}
    sample = Sample(logits, target, arguments, incoming)  # type: ignore[arg-type]
    wanted = torch.tensor([[[0.0, torch.inf, 3.0, 0.0, 0.0, torch.nan, 0.0]]])
    assert_same(forward_backward(backend, sample).gradient, wanted)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.winners_are_numbered], ids=lambda case: case.name
)
def test_gather_takes_values_at_the_winners(backend: str, case: Case) -> None:
    """The transpose of the backward pass, reached through a second derivative."""
    for dtype in (torch.bfloat16, *WIDE):  # one of every width: values are only moved
        sample = case.make(dtype)
        logits = sample.logits.detach().requires_grad_()
        incoming = sample.incoming.detach().requires_grad_()
        penalized = scnp(logits, sample.target, **sample.kwargs, backend=backend)
        (gradient,) = torch.autograd.grad(penalized, logits, incoming, create_graph=True)
        values = torch.randn(case.shape, generator=seeded(1), dtype=torch.float64).to(dtype)
        (gathered,) = torch.autograd.grad(gradient, incoming, values)
        winners = expected(case, dtype).winners
        assert_same(gathered, brute_force_gather(values, winners, case.kernel_size))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_every_half_value_passes_unchanged(backend: str, dtype: torch.dtype) -> None:
    """Through float32 and back: all 65,536 bit patterns, of which NaN stays NaN."""
    incoming = torch.arange(2**16).to(torch.int16).view(dtype).view(1, 1, -1)
    sample = Sample(
        torch.zeros_like(incoming),
        torch.zeros(1, 2**16, dtype=torch.uint8),
        {"kernel_size": 1, "ignore_index": None, "mask": None},
        incoming,
    )
    assert_same(forward_backward(backend, sample).gradient, incoming)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("laid_out", [as_made, channels_last], ids=["contiguous", "strided"])
def test_sums_of_half_values_round_once(backend: str, dtype: torch.dtype, laid_out: Layout) -> None:
    """To nearest, ties to even, subnormal and overflowing sums included."""
    bits = torch.randint(-(2**15), 2**15, (2**16, 2, 2), generator=seeded(0)).to(torch.int16)
    near = bits[:, :, :1] ^ torch.randint(0, 2**11, (2**16, 2, 1), generator=seeded(1)).short()
    bits[::2, :, 1:] = near[::2]  # half of the pairs of about the same size
    incoming = laid_out(bits.view(dtype))
    sample = Sample(
        laid_out(torch.zeros_like(incoming)),
        torch.zeros(2**16, 2, dtype=torch.uint8),
        {"kernel_size": 3, "ignore_index": None, "mask": None},
        incoming,
    )
    gradient = forward_backward(backend, sample).gradient
    wanted = torch.zeros_like(incoming)
    wanted[..., 0] = (incoming[..., 0].float() + incoming[..., 1].float()).to(dtype)
    assert_same(gradient, wanted)
