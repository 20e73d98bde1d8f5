"""No time without a right result: values and gradient are compared with the paper's listing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.harness.case import Case
from benchmarks.harness.subject import Forward, WrongResultError, gradient
from benchmarks.kernels import peers
from benchmarks.kernels.inputs import Buffer
from benchmarks.kernels.loss_peers import Loss


@dataclass(frozen=True)
class Expected:
    """What the listing answers."""

    penalized: Tensor
    gradient: Tensor
    taps: int  # of the window: as many terms may a gradient have


def expected(case: Case, buffer: Buffer, gated: bool = False) -> Expected:
    """The listing's values in the dtype of the logits; its gradient summed in float32 at least."""

    def listing(logits: Tensor, masks: Tensor) -> Tensor:
        penalized = peers.listing(logits, masks, case.kernel_size)
        return torch.where(buffer.gate.unsqueeze(1), penalized, logits) if gated else penalized

    with torch.no_grad():
        penalized = listing(buffer.logits, buffer.one_hot())
    wide = torch.promote_types(case.dtype, torch.float32)
    logits = buffer.logits.detach().to(wide).requires_grad_()
    (gradient,) = torch.autograd.grad(
        listing(logits, buffer.one_hot().to(wide)),
        logits,
        buffer.incoming.to(wide),
    )
    return Expected(penalized, gradient.to(case.dtype), case.taps)


def check(about: str, run: Forward, buffer: Buffer, answer: Expected, bitwise: bool) -> None:
    """Run forward and backward once, and compare; ``about`` names the implementation.

    Values have to agree bit for bit, and with ``bitwise`` the gradient too. Otherwise it may add
    up its parts in another order.

    Raises:
        WrongResultError: It does not agree.
    """
    penalized = run(buffer)
    found = gradient(penalized, buffer)
    if not torch.equal(penalized, answer.penalized):
        raise WrongResultError(f"{about}, values: {_difference(penalized, answer.penalized)}")
    tolerance = max(64, answer.taps) * torch.finfo(found.dtype).eps  # terms of about 1
    if not (
        torch.equal(found, answer.gradient)
        if bitwise
        else torch.allclose(found, answer.gradient, rtol=tolerance, atol=tolerance)
    ):
        raise WrongResultError(f"{about}, gradient: {_difference(found, answer.gradient)}")


def check_planes(about: str, planes: Tensor, buffer: Buffer) -> None:
    """Compare erosion and dilation, which read no labels, with the listing of one class.

    Raises:
        WrongResultError: They do not agree bit for bit.
    """
    for label, found in zip((1, 0), planes, strict=True):
        masks = torch.full_like(buffer.logits, label)
        wanted = peers.listing(buffer.logits.detach(), masks, buffer.case.kernel_size)
        if not torch.equal(found, wanted):
            raise WrongResultError(f"{about}, values: {_difference(found, wanted)}")


def check_loss(
    about: str,
    run: Forward,
    buffer: Buffer,
    exact: Loss,
    tolerance: float,
    of_gradient: float | None = None,
) -> None:
    """Run forward and backward once, and compare with the exact loss in float64.

    The tolerances are relative, of a gradient to its largest value (by default the loss's own).

    Raises:
        WrongResultError: It does not agree.
    """
    value = run(buffer)
    found = gradient(value, buffer).double()
    logits = buffer.logits.detach().double().requires_grad_()
    exact_value = exact(logits, buffer.labels)
    (exact_gradient,) = torch.autograd.grad(exact_value, logits)
    if not abs(value.item() - exact_value.item()) <= tolerance * abs(exact_value.item()):
        raise WrongResultError(f"{about}, value: {value.item()}, exactly {exact_value.item()}")
    worst = (found - exact_gradient).abs().max()
    if not worst <= (of_gradient or tolerance) * exact_gradient.abs().max():
        raise WrongResultError(f"{about}, gradient: {_difference(found, exact_gradient)}")


def _difference(got: Tensor, wanted: Tensor) -> str:
    differ = got != wanted
    largest = (got.detach().double() - wanted.double()).abs().max().item()
    return (
        f"{int(differ.sum())} of {got.numel()} values differ from the listing's by up to {largest}"
    )
