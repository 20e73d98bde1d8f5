"""What the kernels are measured against. Shares no code with scnp_kernels.

Every peer takes the one-hot masks ready, in the dtype of the logits: making them is not counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

KAPPA = 9999
INDUCTOR = "inductor"  # torch.compile's own compiler
MOST_FORMS = 64  # of one function that are compiled
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}

Peer = Callable[[Tensor, Tensor, int], Tensor]  # logits, one-hot masks, kernel_size


Filter = Callable[[Tensor, int], Tensor]  # of values and kernel_size: their minimum or maximum


def on_masked(erode: Filter, dilate: Filter) -> Peer:
    """The paper's listing with somebody's minimum and maximum over the window."""

    def penalize(logits: Tensor, one_hot: Tensor, kernel_size: int) -> Tensor:
        t1 = erode(logits * one_hot + KAPPA * (1 - one_hot), kernel_size)
        t2 = dilate(logits * (1 - one_hot) - KAPPA * one_hot, kernel_size)
        return t1 * one_hot + t2 * (1 - one_hot)

    return penalize


def _pooled(values: Tensor, kernel_size: int) -> Tensor:
    maximum: Tensor = _MAX_POOL[values.dim() - 2](values, kernel_size, 1, kernel_size // 2)
    return maximum


def _pooled_by_axis(values: Tensor, kernel_size: int) -> Tensor:
    """The same, one axis after the other."""
    axes = values.dim() - 2
    for axis in range(axes):
        window = [kernel_size if axis == other else 1 for other in range(axes)]
        values = _MAX_POOL[axes](values, window, 1, [side // 2 for side in window])
    return values


# The paper's listing (Appendix A), and the same with separable pooling.
listing = on_masked(lambda values, side: -_pooled(-values, side), _pooled)
separable = on_masked(lambda values, side: -_pooled_by_axis(-values, side), _pooled_by_axis)


def pad_signed(logits: Tensor, one_hot: Tensor, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Logits with the sign of foreground ones flipped, and masks; outside lies a third class."""
    padding = [kernel_size // 2] * (2 * (logits.dim() - 2))
    signed = logits * (1 - 2 * one_hot)
    return F.pad(signed, padding), F.pad(one_hot, padding, value=2.0)


def compare_shifted(
    padded_logits: Tensor, padded_masks: Tensor, one_hot: Tensor, kernel_size: int
) -> Tensor:
    """The largest of the window's same-class logits; the first of equals wins."""
    spatial = one_hot.shape[2:]
    best = torch.full_like(one_hot, -math.inf)
    for tap in itertools.product(range(kernel_size), repeat=len(spatial)):
        candidate, masks = padded_logits, padded_masks
        for axis, (offset, side) in enumerate(zip(tap, spatial, strict=True), start=2):
            candidate = candidate.narrow(axis, offset, side)
            masks = masks.narrow(axis, offset, side)
        better = (masks == one_hot) & (candidate > best)
        best = torch.where(better, candidate, best)
    return best * (1 - 2 * one_hot)


def compiled_listing(compiler: str = INDUCTOR) -> Peer:
    """The listing under torch.compile."""
    return compiled(listing, compiler)


def compiled_separable(compiler: str = INDUCTOR) -> Peer:
    """The listing under torch.compile, with pooling along one axis after the other."""
    return compiled(separable, compiler)


def compiled_shifted_comparisons(compiler: str = INDUCTOR) -> Peer:
    """One comparison per pixel of the window, under torch.compile.

    Compiled in two steps, the fastest of the forms that were tried: in one step, the compiler
    computes the padding anew for every comparison.
    """
    pad, compare = compiled(pad_signed, compiler), compiled(compare_shifted, compiler)

    def shifted_comparisons(logits: Tensor, one_hot: Tensor, kernel_size: int) -> Tensor:
        padded_logits, padded_masks = pad(logits, one_hot, kernel_size)
        penalized: Tensor = compare(padded_logits, padded_masks, one_hot, kernel_size)
        return penalized

    return shifted_comparisons


def compiled(function: Callable[..., Any], compiler: str = INDUCTOR) -> Callable[..., Any]:
    """Under torch.compile for its shapes and no others: what the compiler is best at."""
    # One process has every window, with and without a gradient: more than the 8 that are allowed.
    torch._dynamo.config.recompile_limit = MOST_FORMS
    result: Callable[..., Any] = torch.compile(
        function, dynamic=False, fullgraph=True, backend=compiler
    )
    return result


def copy_of_the_logits(destination: Tensor, logits: Tensor) -> Tensor:
    """The least that any function of the logits with a result of their size can cost."""
    return destination.copy_(logits)


def allocate_and_fill(logits: Tensor, winners_dtype: torch.dtype) -> list[Tensor]:
    """Memory for penalized logits, winners and gradient, fresh and written once."""
    dtypes = (logits.dtype, winners_dtype, logits.dtype)
    return [torch.empty_like(logits, dtype=dtype).fill_(1) for dtype in dtypes]
