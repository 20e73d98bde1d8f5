"""Dice + cross entropy's statistics and their gradient, composed of a backend's three operations.

A backend without fused kernels runs this, and fused kernels are compared with it. Unlike them it
holds the penalized logits, their probabilities and masks in memory while it works.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rules.dice_ce import (
    STATISTICS,
    Wanted,
    gradient_of_statistics,
    masks_and_valid,
    new_winners,
    stack_statistics,
    statistics_dtype,
    statistics_of,
)
from ..rules.target import Reading, check_values
from .interface import Backend


def forward(
    backend: Backend,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> tuple[Tensor, Tensor]:
    """Return the statistics ``[2, 6, B, C]`` of penalized and of plain logits, and the winners.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    if wanted.of_penalized:
        penalized, winners = backend.forward(logits, target, mask, gate, kernel_size, reading)
    else:
        if reading.validate and logits.numel() > 0:
            check_values(logits, target, mask, reading)
        penalized, winners = logits, new_winners(logits, kernel_size, False)
    masks, valid = masks_and_valid(logits, target, mask, reading)
    dtype = statistics_dtype(logits)
    statistics = logits.new_zeros((2, STATISTICS, *logits.shape[:2]), dtype=dtype)
    terms = ((wanted.of_penalized, penalized), (wanted.of_plain, logits))
    for term, (is_wanted, values) in enumerate(terms):
        if is_wanted:
            statistics[term] = stack_statistics(statistics_of(values, masks, valid, wanted))
    return statistics, winners


def backward(
    backend: Backend,
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> Tensor:
    """Return the gradient of the logits. Half types add up in float32 and are rounded once."""
    masks, valid = masks_and_valid(logits, target, mask, reading)
    of_penalized, of_plain = statistics_gradient.unbind()
    total: Tensor | None = None
    if wanted.of_penalized:
        penalized = backend.gather(logits, winners, kernel_size)
        gradient = gradient_of_statistics(of_penalized, penalized, masks, valid, wanted)
        total = backend.scatter(gradient, winners, kernel_size)
    if wanted.of_plain:
        gradient = gradient_of_statistics(of_plain, logits, masks, valid, wanted)
        total = gradient if total is None else total + gradient
    result = torch.empty_like(logits)
    return result.zero_() if total is None else result.copy_(total)
