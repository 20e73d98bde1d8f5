"""The numbers that the paper prints, on patches reconstructed around them.

The paper shows its grids as images only. The patches here are made up so that every printed
number comes out; all other values in them are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scnp_kernels import scnp
from tests.calls import assert_same
from tests.oracle import listing

# Fig. 3: the centre is of class 0; its logits [2.3, 1.2, 1.4] become [1.9, 1.7, 1.7].
FIGURE_LABELS = torch.tensor([[[0, 0, 1], [0, 0, 2], [1, 2, 2]]])
FIGURE_LOGITS = torch.tensor(
    [
        [
            [[2.6, 1.9, 0.4], [3.1, 2.3, 0.2], [0.7, 1.1, 0.9]],  # least of class 0: 1.9
            [[0.8, 1.7, 2.9], [1.5, 1.2, 0.3], [2.2, 0.6, 1.0]],  # most outside class 1: 1.7
            [[0.1, 0.9, 1.7], [1.3, 1.4, 2.4], [1.6, 3.0, 2.1]],  # most outside class 2: 1.7
        ]
    ]
)

# App. C.1: the centre, of class 0, wins two pixels in channel 0 (itself, top right), three in
# channel 1 (itself, top right, bottom right) and two in channel 2 (bottom left, bottom middle).
GRADIENT_LABELS = torch.tensor([[[1, 1, 0], [1, 0, 1], [1, 1, 2]]])
GRADIENT_LOGITS = torch.tensor(
    [
        [
            [[-0.9, -1.1, 1.6], [-0.8, 1.0, -1.3], [-0.7, -0.5, -1.0]],
            [[1.5, 1.2, -0.4], [1.3, 0.03, 0.69], [0.98, 1.1, -0.6]],
            [[0.52, -0.3, 0.1], [-0.7, -0.2, -0.5], [-0.6, -0.4, 1.04]],
        ]
    ]
)
PRINTED_SHARES = [[0.50, 0.56], [0.19, 0.21, 0.23], [0.20, 0.24]]  # softmax, where it wins
PRINTED_GRADIENT = [-0.94, 0.63, 0.44]  # [(.50-1)+(.56-1), .23+.21+.19, .20+.24]


def _rounded(values: Tensor) -> list[float]:
    """To two decimals, as printed."""
    return [round(value, 2) for value in values.tolist()]


def _one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, 3).movedim(-1, 1)


def test_figure_3(backend: str) -> None:
    assert _rounded(FIGURE_LOGITS[0, :, 1, 1]) == [2.3, 1.2, 1.4]
    assert _rounded(FIGURE_LOGITS.softmax(1)[0, :, 1, 1]) == [0.57, 0.19, 0.23]
    penalized = scnp(FIGURE_LOGITS, FIGURE_LABELS, kernel_size=3, backend=backend)
    assert _rounded(penalized[0, :, 1, 1]) == [1.9, 1.7, 1.7]
    assert _rounded(penalized.softmax(1)[0, :, 1, 1]) == [0.38, 0.31, 0.31]
    assert_same(penalized, listing(FIGURE_LOGITS, _one_hot(FIGURE_LABELS), 3))


def test_appendix_c1(backend: str) -> None:
    logits = GRADIENT_LOGITS.clone().requires_grad_()
    penalized = scnp(logits, GRADIENT_LABELS, kernel_size=3, backend=backend)
    F.cross_entropy(penalized, GRADIENT_LABELS, reduction="sum").backward()
    assert logits.grad is not None
    assert _rounded(logits.grad[0, :, 1, 1]) == PRINTED_GRADIENT


def test_appendix_c1_share_by_share(backend: str) -> None:
    """The pixels whose loss reaches the centre, and what each of them contributes."""
    logits = GRADIENT_LOGITS.clone().requires_grad_()
    penalized = scnp(logits, GRADIENT_LABELS, kernel_size=3, backend=backend)
    probabilities = penalized.detach().softmax(1)
    for channel, printed in enumerate(PRINTED_SHARES):
        won = []
        for row in range(3):
            for column in range(3):
                (gradient,) = torch.autograd.grad(
                    penalized[0, channel, row, column], logits, retain_graph=True
                )
                if gradient[0, channel, 1, 1] == 1:
                    won.append(probabilities[0, channel, row, column])
        assert sorted(_rounded(torch.stack(won))) == printed


def test_appendix_c1_without_scnp() -> None:
    """The plain loss gives the centre another gradient, of its own pixel alone."""
    logits = GRADIENT_LOGITS.clone().requires_grad_()
    F.cross_entropy(logits, GRADIENT_LABELS, reduction="sum").backward()
    assert logits.grad is not None
    assert _rounded(logits.grad[0, :, 1, 1]) != PRINTED_GRADIENT


def test_listing_gives_the_printed_gradient() -> None:
    """The oracle is held to the paper as well."""
    logits = GRADIENT_LOGITS.clone().requires_grad_()
    penalized = listing(logits, _one_hot(GRADIENT_LABELS), 3)
    F.cross_entropy(penalized, GRADIENT_LABELS, reduction="sum").backward()
    assert logits.grad is not None
    assert _rounded(logits.grad[0, :, 1, 1]) == PRINTED_GRADIENT
