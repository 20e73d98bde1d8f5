"""No time without a right result: values and gradient are compared with the paper's listing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.kernels import loss_peers, peers
from benchmarks.kernels.cases import FUSED_JOINT, FUSED_PLAIN, LOSSES_WITHOUT_SCNP, Case
from benchmarks.kernels.implementations import OURS_PREFIX, Run
from benchmarks.kernels.inputs import Buffer

LOSS_TOLERANCE = 1e-5  # of float32, which the peers add up in


class WrongResultError(AssertionError):
    """An implementation disagrees with the listing: its time would mean nothing."""


@dataclass(frozen=True)
class Expected:
    """What the listing answers."""

    penalized: Tensor
    gradient: Tensor


def expected(case: Case, buffer: Buffer) -> Expected:
    """The listing's values in the dtype of the logits; its gradient summed in float32 at least."""
    with torch.no_grad():
        penalized = peers.listing(buffer.logits, buffer.one_hot(), case.kernel_size)
    wide = torch.promote_types(case.dtype, torch.float32)
    logits = buffer.logits.detach().to(wide).requires_grad_()
    (gradient,) = torch.autograd.grad(
        peers.listing(logits, buffer.one_hot().to(wide), case.kernel_size),
        logits,
        buffer.incoming.to(wide),
    )
    return Expected(penalized, gradient.to(case.dtype))


def check(name: str, case: Case, run: Run, buffer: Buffer, answer: Expected) -> None:
    """Run forward and backward once, and compare.

    Ours has to agree bit for bit. A peer may add the parts of a gradient in another order.

    Raises:
        WrongResultError: It does not agree.
    """
    penalized = run(buffer)
    (gradient,) = torch.autograd.grad(penalized, buffer.logits, buffer.incoming)
    if not torch.equal(penalized, answer.penalized):
        raise WrongResultError(f"{name} on {case.name}: {_difference(penalized, answer.penalized)}")
    if name.startswith(OURS_PREFIX):
        agrees = torch.equal(gradient, answer.gradient)
    else:
        tolerance = 64 * torch.finfo(case.dtype).eps  # some dozens of terms of about 1
        agrees = torch.allclose(gradient, answer.gradient, rtol=tolerance, atol=tolerance)
    if not agrees:
        difference = _difference(gradient, answer.gradient)
        raise WrongResultError(f"{name} on {case.name}, gradient: {difference}")


def check_loss(name: str, case: Case, run: Run, buffer: Buffer) -> None:
    """Run forward and backward once, and compare with the composition in float64.

    Raises:
        WrongResultError: It does not agree.
    """
    value = run(buffer)
    (gradient,) = torch.autograd.grad(value, buffer.logits)
    logits = buffer.logits.detach().double().requires_grad_()
    on_penalized = loss_peers.listing_dice_ce(logits, buffer.labels, case.kernel_size)
    plain = loss_peers.dice_ce(logits, buffer.labels)
    if name in (*LOSSES_WITHOUT_SCNP, FUSED_PLAIN):
        exact = plain
    else:
        exact = on_penalized + plain if name == FUSED_JOINT else on_penalized
    (exact_gradient,) = torch.autograd.grad(exact, logits)
    if abs(value.item() - exact.item()) > LOSS_TOLERANCE * abs(exact.item()):
        raise WrongResultError(f"{name} on {case.name}: {value.item()}, exactly {exact.item()}")
    largest = exact_gradient.abs().max()
    if (gradient - exact_gradient).abs().max() > LOSS_TOLERANCE * largest:
        raise WrongResultError(
            f"{name} on {case.name}, gradient: {_difference(gradient, exact_gradient)}"
        )


def _difference(got: Tensor, wanted: Tensor) -> str:
    differ = got != wanted
    largest = (got.detach().double() - wanted.double()).abs().max().item()
    return (
        f"{int(differ.sum())} of {got.numel()} values differ from the listing's by up to {largest}"
    )
