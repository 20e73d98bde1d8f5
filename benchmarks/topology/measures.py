"""What one segmentation is measured by, for one foreground class, as masks in 2D or 3D.

The measures are scnp_kernels.metrics'; here are the names and arguments that the tables use.
"""

from __future__ import annotations

from hashlib import blake2b

from scnp_kernels.metrics import (
    betti_matching_error,
    betti_numbers,
    cldice,
    dice,
    roundness_error,
)
from scnp_kernels.metrics.inputs import Mask

__all__ = [
    "Mask",
    "betti0_error",
    "betti1_error",
    "betti_error",
    "betti_matching_error",
    "cldice",
    "component_count",
    "dice",
    "roundness_error",
]


_BETTI_NUMBERS: dict[tuple[bytes, tuple[int, ...], int], tuple[int, ...]] = {}  # of truths


def component_count(mask: Mask, connectivity: int) -> int:
    """Betti number 0: the pieces of the foreground [*spatial]."""
    return betti_numbers(mask, connectivity=connectivity)[0]


def betti0_error(prediction: Mask, truth: Mask, connectivity: int) -> int:
    """How many pieces the prediction has too many or too few."""
    return _betti_errors(prediction, truth, connectivity)[0]


def betti1_error(prediction: Mask, truth: Mask, connectivity: int) -> int:
    """How many holes (in 3D: tunnels) the prediction has too many or too few."""
    return _betti_errors(prediction, truth, connectivity)[1]


def betti_error(prediction: Mask, truth: Mask, connectivity: int) -> int:
    """Both together, in 3D with the cavities: never above the Betti-matching error."""
    return sum(_betti_errors(prediction, truth, connectivity))


def _betti_errors(prediction: Mask, truth: Mask, connectivity: int) -> tuple[int, ...]:
    """As ``betti_errors``; a truth, with which many predictions are compared, is counted once."""
    key = blake2b(truth.tobytes()).digest(), truth.shape, connectivity
    if key not in _BETTI_NUMBERS:
        _BETTI_NUMBERS[key] = betti_numbers(truth, connectivity=connectivity)
    predicted = betti_numbers(prediction, connectivity=connectivity)
    return tuple(abs(p - t) for p, t in zip(predicted, _BETTI_NUMBERS[key], strict=True))
