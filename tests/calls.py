"""How tests call the package and compare what comes back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scnp_kernels import scnp
from tests.cases import Sample


class Outcome(NamedTuple):
    """What one forward and backward pass gives."""

    penalized: Tensor
    winners: Tensor
    gradient: Tensor


def forward_backward(backend: str, sample: Sample, validate: bool | None = None) -> Outcome:
    """Both passes. The winners are caught where autograd saves them."""
    logits = sample.logits.detach().requires_grad_()
    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        penalized = scnp(logits, sample.target, **sample.kwargs, validate=validate, backend=backend)
    (winners,) = saved
    (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
    return Outcome(penalized.detach(), winners, gradient)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Same dtype, shape and values; NaN equals NaN, and -0 equals +0. No tolerance."""
    torch.testing.assert_close(
        actual,
        expected,
        rtol=0,
        atol=0,
        equal_nan=True,
        msg=lambda message: f"{actual.dtype}: {message}",
    )
