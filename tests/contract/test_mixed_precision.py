"""Promise: automatic mixed precision works as with any other operator.

``autocast`` leaves the dtype of the logits alone, ``GradScaler`` sees every NaN and infinity, and
half types give the float32 result, rounded once.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scnp_kernels import SCNPLoss, scnp
from tests.calls import assert_same
from tests.generators import seeded

HALF = (torch.float16, torch.bfloat16)
by_half = pytest.mark.parametrize("half", HALF, ids=str)
SHAPE = (2, 3, 9, 10)  # [B, C, H, W]


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(SHAPE, generator=seeded(0))


@pytest.fixture
def target() -> Tensor:
    return torch.randint(0, 3, (2, 9, 10), generator=seeded(1))


@by_half
@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64], ids=str)
def test_autocast_leaves_the_logits_dtype(
    backend: str, logits: Tensor, target: Tensor, half: torch.dtype, dtype: torch.dtype
) -> None:
    """Nothing is computed with, so there is nothing to gain or lose: the bits are the same."""
    leaf = logits.to(dtype).requires_grad_()
    plain = scnp(leaf, target, backend=backend)
    (plain_gradient,) = torch.autograd.grad(plain, leaf, torch.ones_like(plain))
    with torch.autocast("cpu", half):
        inside = scnp(leaf, target, backend=backend)
    (gradient,) = torch.autograd.grad(inside, leaf, torch.ones_like(inside))
    assert inside.dtype == dtype
    assert_same(inside.detach(), plain.detach())
    assert_same(gradient, plain_gradient)


@by_half
def test_a_network_under_autocast(backend: str, target: Tensor, half: torch.dtype) -> None:
    """The network's half logits stay what they are; the loss goes to float32 by itself."""
    network = nn.Conv2d(1, 3, 3, padding=1)
    criterion = SCNPLoss(nn.CrossEntropyLoss(), 3, plain_weight=1.0, backend=backend)
    with torch.autocast("cpu", half):
        logits = network(torch.randn(2, 1, 9, 10, generator=seeded(2)))
        penalized = scnp(logits, target, backend=backend)
        loss = criterion(logits, target)
    assert logits.dtype == penalized.dtype == half
    assert loss.dtype == torch.float32
    wanted = F.cross_entropy(penalized.float(), target) + F.cross_entropy(logits.float(), target)
    assert_same(loss, wanted)
    loss.backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


class _Step:
    """One step of a network of one number per channel, with a scaler."""

    def __init__(self) -> None:
        self.parameter = nn.Parameter(torch.ones(1, 3, 1, 1))  # [1, C, 1, 1]
        self.optimizer = torch.optim.SGD([self.parameter], lr=0.1)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def take(self, backend: str, values: Tensor, target: Tensor) -> None:
        self.optimizer.zero_grad()
        penalized = scnp(values * self.parameter, target, backend=backend)
        loss = F.cross_entropy(penalized.float(), target)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


@by_half
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_the_scaler_sees_what_is_not_finite(
    backend: str, logits: Tensor, target: Tensor, half: torch.dtype, bad: float
) -> None:
    """One bad logit that wins somewhere: the step is left out and the scale is halved."""
    step = _Step()
    values = logits.to(half)
    label = 0 if bad == math.inf else 1  # the class in which it wins: worst for that pixel
    target[0, 4, 5] = label
    values[0, 1, 4, 5] = bad
    step.take(backend, values, target)
    assert step.scaler.get_scale() == 2.0**9
    assert (step.parameter == 1).all()
    step.take(backend, logits.to(half), target)
    assert step.scaler.get_scale() == 2.0**9
    assert (step.parameter != 1).all()
    assert step.parameter.isfinite().all()


@by_half
@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_the_scaler_sees_a_gradient_that_is_not_finite(
    backend: str, logits: Tensor, target: Tensor, half: torch.dtype, bad: float
) -> None:
    """It comes from behind, as when a loss overflows, and reaches the winner."""
    leaf = logits.clone().requires_grad_()  # float32: a scaler takes no others
    incoming = torch.ones_like(leaf, dtype=half)
    incoming[1, 2, 3, 4] = bad
    scnp(leaf.to(half), target, backend=backend).backward(incoming)
    assert leaf.grad is not None
    assert (~leaf.grad.isfinite()).sum() == 1
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD([leaf], lr=1.0)
    scaler.scale(torch.zeros(()))  # a scaler exists from its first use on
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**15
    assert_same(leaf.detach(), logits)


def test_sums_that_overflow_float16_are_seen(backend: str) -> None:
    """49 gradients of 2,000 to one winner: 98,000 is infinite in float16, and says so."""
    logits = torch.zeros(1, 1, 7, 7, dtype=torch.float16)
    logits[0, 0, 3, 3] = 1
    logits.requires_grad_()
    target = torch.zeros(1, 7, 7, dtype=torch.uint8)
    scnp(logits, target, 7, backend=backend).backward(torch.full_like(logits, 2000))
    assert logits.grad is not None
    assert logits.grad[0, 0, 3, 3] == math.inf
    assert logits.grad.sum() == math.inf
    assert logits.grad.isinf().sum() == 1


@by_half
@pytest.mark.parametrize("kernel_size", [7, 9])
def test_hundreds_of_contributions_round_once(
    backend: str, half: torch.dtype, kernel_size: int
) -> None:
    """Windows of 343 and 729 voxels: the half gradient is the float32 gradient, rounded."""
    shape = (1, 2, 12, 11, 10)
    logits = torch.randn(shape, generator=seeded(0)).to(half)
    target = torch.zeros(1, 12, 11, 10, dtype=torch.uint8)
    target[:, 5:8, 5:8, 5:8] = 1
    incoming = (torch.randn(shape, generator=seeded(1)) + 1).to(half)
    gradients, counts = [], []
    for dtype in (half, torch.float32):
        leaf = logits.to(dtype).requires_grad_()
        penalized = scnp(leaf, target, kernel_size, backend=backend)
        gradients.append(torch.autograd.grad(penalized, leaf, incoming.to(dtype))[0])
        counts.append(
            torch.autograd.grad(
                scnp(leaf, target, kernel_size, backend=backend), leaf, torch.ones_like(leaf)
            )[0].max()
        )
    assert counts[1] >= 200  # one voxel collects from so many
    assert_same(gradients[0], gradients[1].to(half))
