"""Cross entropy modulated as the focal loss does it (Lin et al., 2017), by plain PyTorch.

With p the probability of what the target says, it is ``(1 - p)^gamma * CE``, and the gradient of CE
is multiplied by the slope

    (1 - p)^gamma * (1 + gamma * p * CE / (1 - p))

``1 - p`` is never a difference from 1: at most pixels of a trained network p is near 1, and it
would cancel. CE is not either. Where ``1 - p`` is below every normal number, the smallest one
stands for it; where p is 0, so is ``p * CE``. NaN stays NaN.

Everything here is differentiable any number of times.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class _Softmax(NamedTuple):
    """What softmax says of every class ``[B, C, *spatial]``."""

    probability: Tensor
    complement: Tensor  # 1 - probability
    entropy: Tensor  # -log(probability)


def _softmax(logits: Tensor) -> _Softmax:
    top = logits.argmax(dim=1, keepdim=True)
    largest = logits.gather(1, top)
    below = logits - largest
    exponential = below.exp()
    is_top = torch.zeros_like(logits, dtype=torch.bool).scatter(1, top, True)
    # The sum of all exponentials but the largest, which is 1; NaN where the largest is infinite.
    rest = torch.where(is_top, torch.zeros_like(exponential), exponential)
    rest = rest.sum(dim=1, keepdim=True) + (largest - largest)
    total = 1 + rest
    # The total is near the exponential of no class but the largest's.
    others = torch.where(is_top, rest, total - exponential)
    tiny = torch.finfo(logits.dtype).tiny
    return _Softmax(
        exponential / total, (others / total).clamp_min(tiny), torch.log1p(rest) - below
    )


def _times_entropy(probability: Tensor, entropy: Tensor) -> Tensor:
    """Return ``p * CE``, 0 where p is 0 and CE infinite."""
    return torch.where(probability == 0, probability, probability * entropy)


def entropies(logits: Tensor, softmax: bool, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return p, and the modulated cross entropy where y = 1 and where y = 0 (0 with softmax)."""
    if softmax:
        parts = _softmax(logits)
        power = (gamma * parts.complement.log()).exp()
        return parts.probability, power * parts.entropy, torch.zeros_like(logits)
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    return logits.sigmoid(), (gamma * log_q).exp() * -log_p, (gamma * log_p).exp() * -log_q


def slopes(logits: Tensor, softmax: bool, gamma: float) -> tuple[Tensor, Tensor]:
    """Return what the gradient of cross entropy is multiplied by where y = 1, and where y = 0."""
    if softmax:
        p, q, entropy = _softmax(logits)
        power = (gamma * q.log()).exp()
        return power * (1 + gamma * _times_entropy(p, entropy) / q), torch.ones_like(logits)
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    return _sigmoid_slope(log_p, log_q, gamma), _sigmoid_slope(log_q, log_p, gamma)


def _sigmoid_slope(log_p: Tensor, log_q: Tensor, gamma: float) -> Tensor:
    p, q = log_p.exp(), log_q.exp().clamp_min(torch.finfo(log_q.dtype).tiny)
    return (gamma * log_q).exp() * (1 + gamma * _times_entropy(p, -log_p) / q)
