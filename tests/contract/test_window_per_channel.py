"""A window per channel: refused in words that name the way out, and the way out itself."""

from __future__ import annotations

import pytest
import torch

from scnp_kernels import SCNP, scnp
from tests.generators import seeded
from tests.oracle import brute_force, brute_force_gradient


@pytest.mark.parametrize(
    ("kernel_size", "kind"),
    [((3, 5, 3, 5), ValueError), (((3, 3), (5, 5), (3, 3)), TypeError), ([[3], [5]], TypeError)],
)
def test_the_error_names_the_way_out(kernel_size: object, kind: type[Exception]) -> None:
    words = r"^kernel_size: got .*; a window per channel is a call per channel, scnp\(logits\[:, "
    with pytest.raises(kind, match=words):
        scnp(torch.zeros(1, 4, 5, 6), torch.zeros(1, 5, 6, dtype=torch.long), kernel_size)  # type: ignore[arg-type]
    with pytest.raises(kind, match=words):
        SCNP(kernel_size)  # type: ignore[arg-type]


def test_a_call_per_channel() -> None:
    """The lines of docs/guide.md, against brute force with the window of each class."""
    logits = torch.randn(2, 3, 9, 11, generator=seeded(0), dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 3, (2, 9, 11), generator=seeded(1))
    incoming = torch.randn(logits.shape, generator=seeded(2), dtype=torch.float64)
    windows = (3, 5, 3)
    penalized = torch.cat([scnp(logits[:, [k]], labels == k, w) for k, w in enumerate(windows)], 1)
    (gradient,) = torch.autograd.grad(penalized, logits, incoming)
    valid = torch.ones(2, 1, 9, 11, dtype=torch.bool)
    for k, window in enumerate(windows):
        found = brute_force(logits.detach()[:, [k]], (labels == k)[:, None], valid, window)
        assert torch.equal(penalized[:, [k]], found.penalized)
        expected = brute_force_gradient(incoming[:, [k]], found.winners, window)
        assert torch.equal(gradient[:, [k]], expected)
