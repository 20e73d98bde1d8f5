"""What every backend must compute, written twice and sharing no code with ``scnp_kernels``.

- :func:`listing`: the paper's listing (Appendix A), differentiable. It knows finite logits below
  ``KAPPA``, and neither ignored pixels nor masks.
- :func:`brute_force` and its relatives: loops over pixels in raster order that follow the whole
  contract. Slow, so keep images small.

Taps are numbered in raster order over the whole window, whether or not the border clips it, so
the centre is ``taps // 2``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KAPPA = 9999
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def window_of(kernel_size: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """One side per spatial axis."""
    return (kernel_size,) * dimensions if isinstance(kernel_size, int) else tuple(kernel_size)


def listing(logits: Tensor, one_hot: Tensor, kernel_size: int | Sequence[int]) -> Tensor:
    """The paper's listing; ``one_hot`` has the shape of ``logits`` and holds 0 and 1."""
    dimensions = logits.dim() - 2
    window = window_of(kernel_size, dimensions)
    padding = [size // 2 for size in window]
    y = one_hot.to(logits.dtype)
    max_pool = _MAX_POOL[dimensions]
    t1 = -max_pool(-(logits * y + KAPPA * (1 - y)), window, 1, padding)
    t2 = max_pool(logits * (1 - y) - KAPPA * y, window, 1, padding)
    result: Tensor = t1 * y + t2 * (1 - y)
    return result


class Reading(NamedTuple):
    """What the target says of every pixel, for every channel; both bool ``[B, C, *spatial]``."""

    foreground: Tensor
    valid: Tensor


def read_target(
    shape: Sequence[int],
    target: Tensor,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
) -> Reading:
    """Read a target for logits of ``shape`` as the contract says, unchecked values included.

    Labels and ``ignore_index`` become Python numbers, which compare as mathematical ones.
    """
    batch, channels, *spatial = shape
    pixels = math.prod(spatial)
    values = target.flatten().tolist()
    permitted = mask.flatten().tolist() if mask is not None else [True] * (batch * pixels)
    masks = tuple(target.shape) == tuple(shape)
    by_channel = mask is not None and tuple(mask.shape) == tuple(shape)
    foreground, valid = [], []
    for b, c, p in product(range(batch), range(channels), range(pixels)):
        value = values[(b * channels + c) * pixels + p] if masks else values[b * pixels + p]
        label = 1 if channels == 1 else c
        foreground.append(value > 0.5 if masks else value == label)
        ignored = ignore_index is not None and value == ignore_index
        at = (b * channels + c) * pixels + p if by_channel else b * pixels + p
        valid.append(permitted[at] and not ignored)
    return Reading(
        torch.tensor(foreground, dtype=torch.bool).view(*shape),
        torch.tensor(valid, dtype=torch.bool).view(*shape),
    )


class Expected(NamedTuple):
    """The answer of :func:`brute_force`, ``[B, C, *spatial]`` each."""

    penalized: Tensor  # dtype of the logits
    winners: Tensor  # int64 tap numbers


@cache
def neighbours(
    spatial: tuple[int, ...], window: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For every pixel, its neighbours inside the image in raster order: (tap, pixel) each."""
    table = []
    for centre in product(*map(range, spatial)):
        reachable = [
            range(max(0, at - side // 2), min(size, at + side // 2 + 1))
            for at, side, size in zip(centre, window, spatial, strict=True)
        ]
        table.append(
            tuple(
                (
                    _ravel(_tap_index(centre, there, window), window),
                    _ravel(there, spatial),
                )
                for there in product(*reachable)
            )
        )
    return tuple(table)


def _tap_index(centre: Sequence[int], there: Sequence[int], window: Sequence[int]) -> list[int]:
    """Where ``there`` lies in the window around ``centre``."""
    return [n - c + side // 2 for n, c, side in zip(there, centre, window, strict=True)]


def _ravel(index: Sequence[int], shape: Sequence[int]) -> int:
    flat = 0
    for at, size in zip(index, shape, strict=True):
        flat = flat * size + at
    return flat


def _beats(candidate: float, best: float, foreground: bool) -> bool:
    """Strictly worse for the network, so that the first of equals stays; NaN beats numbers."""
    if math.isnan(candidate):
        return not math.isnan(best)
    return candidate < best if foreground else candidate > best


def brute_force(
    logits: Tensor,
    foreground: Tensor,
    valid: Tensor,
    kernel_size: int | Sequence[int],
    gate: Tensor | None = None,
) -> Expected:
    """Eq. 1, one pixel after the other; ``foreground`` and ``valid`` as in :class:`Reading`.

    ``gate``, bool ``[B, *spatial]`` or ``[B, 1, *spatial]``: where it is False a pixel looks at
    nobody and stays as it is, but the others look at it.
    """
    spatial = tuple(logits.shape[2:])
    window = window_of(kernel_size, len(spatial))
    images = (-1, math.prod(spatial))
    flat = logits.detach().reshape(images)
    around = neighbours(spatial, window)
    penalized_pixels = _of_every_channel(gate, logits.shape).reshape(images).tolist()
    winning_taps, winning_pixels = [], []
    for z, y, v, looks in zip(
        flat.double().tolist(),
        foreground.reshape(images).tolist(),
        valid.reshape(images).tolist(),
        penalized_pixels,
        strict=True,
    ):
        for pixel in range(len(z)):
            best_tap, best = math.prod(window) // 2, pixel
            found = False
            for tap, other in around[pixel] if v[pixel] and looks[pixel] else ():
                if not v[other] or y[other] != y[pixel]:
                    continue
                if not found or _beats(z[other], z[best], y[pixel]):
                    found, best_tap, best = True, tap, other
            winning_taps.append(best_tap)
            winning_pixels.append(best)
    penalized = flat.gather(1, torch.tensor(winning_pixels).view(images))
    return Expected(penalized.view(logits.shape), torch.tensor(winning_taps).view(logits.shape))


def _of_every_channel(gate: Tensor | None, shape: Sequence[int]) -> Tensor:
    """bool ``[B, C, *spatial]``; True everywhere without a gate."""
    batch, channels, *spatial = shape
    if gate is None:
        return torch.ones(*shape, dtype=torch.bool)
    return torch.stack([gate.reshape(batch, *spatial)] * channels, dim=1)


def winning_pixels(winners: Tensor, kernel_size: int | Sequence[int]) -> Tensor:
    """Tap numbers to positions in the image: int64 ``[B * C, pixels]``."""
    spatial = tuple(winners.shape[2:])
    around = [dict(taps) for taps in neighbours(spatial, window_of(kernel_size, len(spatial)))]
    rows = winners.reshape(-1, math.prod(spatial)).tolist()
    return torch.tensor([[around[p][tap] for p, tap in enumerate(row)] for row in rows])


def brute_force_gradient(
    incoming: Tensor, winners: Tensor, kernel_size: int | Sequence[int]
) -> Tensor:
    """Eq. 2: contributions arrive one by one, in raster order of the pixels that send them.

    They add up in float32 or float64; half types do so in float32, and are rounded once.
    """
    pixels = math.prod(incoming.shape[2:])
    wide = torch.float64 if incoming.dtype == torch.float64 else torch.float32
    sent = incoming.detach().reshape(-1, pixels).to(wide).numpy()
    to = winning_pixels(winners, kernel_size).numpy()
    images = np.arange(sent.shape[0])
    total = np.zeros_like(sent)
    with np.errstate(all="ignore"):
        for pixel in range(pixels):
            total[images, to[:, pixel]] += sent[:, pixel]
    return torch.from_numpy(total).to(incoming.dtype).view(incoming.shape)


def brute_force_gather(values: Tensor, winners: Tensor, kernel_size: int | Sequence[int]) -> Tensor:
    """The transpose of Eq. 2: every pixel takes the value at its winner."""
    flat = values.detach().reshape(-1, math.prod(values.shape[2:]))
    return flat.gather(1, winning_pixels(winners, kernel_size)).view(values.shape)
