"""The paper's listing, extended by ignored pixels: what the integrations must feed to a loss.

Built from pooling alone, and shares no code with ``scnp_kernels``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracle import KAPPA, window_of

_MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}


def penalized(
    logits: Tensor,
    one_hot: Tensor,
    kernel_size: int | Sequence[int] = 3,
    valid: Tensor | None = None,
) -> Tensor:
    """``logits`` and ``one_hot`` [B, C, *spatial]; ``valid`` [B, 1, *spatial], all if None.

    Ignored pixels are neither foreground nor background, and keep their logit.
    """
    dimensions = logits.dim() - 2
    window = window_of(kernel_size, dimensions)
    padding = [side // 2 for side in window]
    max_pool = _MAX_POOL[dimensions]
    if valid is None:
        valid = torch.ones_like(one_hot[:, :1], dtype=torch.bool)
    foreground = (one_hot.bool() & valid).to(logits.dtype)
    background = (~one_hot.bool() & valid).to(logits.dtype)
    t1 = -max_pool(-(logits * foreground + KAPPA * (1 - foreground)), window, 1, padding)
    t2 = max_pool(logits * background - KAPPA * (1 - background), window, 1, padding)
    result: Tensor = t1 * foreground + t2 * background + logits * (1 - foreground - background)
    return result


def one_hot_of(labels: Tensor, classes: int) -> Tensor:
    """Label map ``[B, *spatial]`` -> float ``[B, C, *spatial]``; other labels are of no class."""
    return torch.stack([(labels == k).float() for k in range(classes)], dim=1)


def loss_and_gradient(loss: Tensor, logits: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The value, then its gradient at every tensor of logits."""
    return (loss.detach(), *torch.autograd.grad(loss, logits, materialize_grads=True))
