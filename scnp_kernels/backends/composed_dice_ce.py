"""Dice + cross entropy's sums, and their gradient, out of any backend's three operations and torch.

What a backend without fused kernels runs, and what the fused kernels are compared with. Unlike them
it holds the penalized logits, their probabilities and masks in memory while it works.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rules.dice_ce import (
    Sums,
    gradient_of_sums,
    masks_and_valid,
    new_winners,
    stack_sums,
    sums_dtype,
    sums_of,
)
from ..rules.target import check_values
from .interface import Backend


def forward(
    backend: Backend,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> tuple[Tensor, Tensor]:
    """The sums ``[2, 6, B, C]`` of the penalized and the plain logits, and the winners.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    reading = (target_is_masks, first_class, label_count, ignore_index)
    if of_penalized:
        penalized, winners = backend.forward(logits, target, mask, kernel_size, *reading, validate)
    else:
        if validate and logits.numel() > 0:
            check_values(logits, target, mask, target_is_masks, label_count, ignore_index)
        penalized, winners = logits, new_winners(logits, kernel_size, False)
    masks, valid = masks_and_valid(logits, target, mask, target_is_masks, first_class, ignore_index)
    sums = logits.new_zeros((2, len(Sums._fields), *logits.shape[:2]), dtype=sums_dtype(logits))
    for term, (wanted, values) in enumerate(((of_penalized, penalized), (of_plain, logits))):
        if wanted:
            sums[term] = stack_sums(sums_of(values, masks, valid, softmax))
    return sums, winners


def backward(
    backend: Backend,
    sums_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    _label_count: int,
    ignore_index: int | None,
    _validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> Tensor:
    """The gradient of the logits. Half types add up in float32 and are rounded once."""
    masks, valid = masks_and_valid(logits, target, mask, target_is_masks, first_class, ignore_index)
    total: Tensor | None = None
    if of_penalized:
        penalized = backend.gather(logits, winners, kernel_size)
        gradient = gradient_of_sums(sums_gradient[0], penalized, masks, valid, softmax)
        total = backend.scatter(gradient, winners, kernel_size)
    if of_plain:
        gradient = gradient_of_sums(sums_gradient[1], logits, masks, valid, softmax)
        total = gradient if total is None else total + gradient
    result = torch.empty_like(logits)
    return result.zero_() if total is None else result.copy_(total)
