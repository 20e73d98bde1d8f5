"""The specification in pure PyTorch: it runs on any device and says what every backend does.

It is written to be read, tap by tap in raster order, and shares no code with the compiled kernels.
It is not the paper's listing, which lets NaN cross classes and knows no masks or ignored pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..rules.target import Reading, check_values, foreground_pixels, valid_pixels
from ..rules.window import number_of_taps, offsets_in_raster_order, winner_dtype


def forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
) -> tuple[Tensor, Tensor]:
    """Eq. 1. Returns the penalized logits and the winners' tap numbers, both ``[B, C, *spatial]``.

    Every pixel looks at its neighbours in raster order and keeps the first best of its own class:
    the smallest logit for foreground, the largest for background. Where the gate is False it keeps
    its own logit, which its neighbours still see.
    """
    if reading.validate and logits.numel() > 0:
        check_values(logits, target, mask, reading)
    valid = valid_pixels(logits, target, mask, reading)
    foreground = foreground_pixels(logits, target, reading)
    valid = valid.expand_as(logits)
    penalized = torch.empty_like(logits)
    winners = torch.empty_like(logits, dtype=winner_dtype(kernel_size))

    # One sign for both classes: foreground's minimum is the maximum of the negated logits.
    signed = torch.where(foreground, -logits, logits)  # [B, C, *spatial]
    best = signed.clone()
    found = torch.zeros_like(valid, memory_format=torch.contiguous_format)
    # An invalid pixel has no candidates and keeps its own logit: its winner is the centre tap.
    winners.fill_(len(offsets_in_raster_order(kernel_size)) // 2)
    for tap, offset in enumerate(offsets_in_raster_order(kernel_size)):
        overlap = _overlap(logits.shape[2:], offset)
        if overlap is None:
            continue
        here, there = overlap
        candidate = signed[there]
        same_class = valid[here] & valid[there] & (foreground[here] == foreground[there])
        # Strictly better, so that the first of equal candidates stays; NaN beats every number.
        better = ~found[here] | (candidate > best[here])
        better |= candidate.isnan() & ~best[here].isnan()
        wins = same_class & better
        best[here] = torch.where(wins, candidate, best[here])
        winners[here] = torch.where(wins, tap, winners[here])
        found[here] |= wins
    penalized.copy_(torch.where(foreground, -best, best))
    if gate is not None:
        keeps_own = ~gate.unsqueeze(1)
        penalized.copy_(torch.where(keeps_own, logits, penalized))
        winners.masked_fill_(keeps_own, number_of_taps(kernel_size) // 2)
    return penalized, winners


def scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Eq. 2. Sends the gradient of every pixel to its winner; ``[B, C, *spatial]`` each.

    The pixels that a winner collects from are visited in raster order and added one by one. Half
    types accumulate in float32 and round once.
    """
    wide = torch.float32 if gradient.dtype.itemsize == 2 else gradient.dtype
    total = torch.zeros_like(gradient, dtype=wide, memory_format=torch.contiguous_format)
    offsets = offsets_in_raster_order(kernel_size)
    # Seen from the winner, the pixel that it serves lies in the opposite direction: the last tap
    # belongs to the first pixel in raster order.
    for tap, offset in reversed(list(enumerate(offsets))):
        overlap = _overlap(gradient.shape[2:], offset)
        if overlap is None:
            continue
        pixel, winner = overlap
        share = torch.where(winners[pixel] == tap, gradient[pixel].to(wide), 0)
        total[winner] += share
    result = torch.empty_like(winners, dtype=gradient.dtype)
    return result.copy_(total)


def gather(values: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Give every pixel the value at its winner: the transpose of :func:`scatter`."""
    result = torch.empty_like(winners, dtype=values.dtype)
    for tap, offset in enumerate(offsets_in_raster_order(kernel_size)):
        overlap = _overlap(values.shape[2:], offset)
        if overlap is None:
            continue
        pixel, winner = overlap
        result[pixel] = torch.where(winners[pixel] == tap, values[winner], result[pixel])
    return result


Slices = tuple[slice, ...]


def _overlap(spatial: Sequence[int], offset: Sequence[int]) -> tuple[Slices, Slices] | None:
    """Index of the pixels whose neighbour at ``offset`` is in the image, and of that neighbour.

    None where no pixel has one.
    """
    here: Slices = (slice(None), slice(None))  # batch and channels
    there: Slices = (slice(None), slice(None))
    for size, step in zip(spatial, offset, strict=True):
        if abs(step) >= size:
            return None
        here += (slice(max(0, -step), size - max(0, step)),)
        there += (slice(max(0, step), size - max(0, -step)),)
    return here, there
