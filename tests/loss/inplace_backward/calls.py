"""Logits, labels and calls that the tests of ``inplace_backward=True`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp_dice_ce_loss
from tests import generators as g


def same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN where NaN is, and everything else alike, the sign of a zero included."""
    nan = one.isnan()
    alike = torch.equal(nan, other.isnan()) and torch.equal(one[~nan], other[~nan])
    return alike and torch.equal(one[~nan].signbit(), other[~nan].signbit())


def inputs(
    shape: Sequence[int] = (2, 3, 19, 23), dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """A leaf that requires a gradient, and a label map."""
    generator = g.seeded(7)
    leaf = torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    return leaf.requires_grad_(), labels


def head(leaf: Tensor) -> Tensor:
    """Logits that nobody needs any more; their gradient goes on to a leaf."""
    return leaf * 1.5


def call(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """The loss in place, for tests of what it refuses."""
    loss: Tensor = scnp_dice_ce_loss(logits, labels, inplace_backward=True, **options)
    return loss


def refuses(kind: type[Exception], words: str) -> Any:
    """Expects an error in words: what was found, and the way out."""
    return pytest.raises(
        kind, match=rf"(?s)^inplace_backward: got .*{words}.*inplace_backward=False"
    )
