"""The three measures of the demo: Dice, Betti-0 error and clDice of one segmentation."""

from __future__ import annotations

from benchmarks.common.images import BoolMask
from scnp_kernels.metrics import betti_errors, betti_numbers, cldice, dice

__all__ = ["betti0_error", "cldice", "component_count", "dice"]

CONNECTIVITY = 8  # a diagonal step connects


def component_count(mask: BoolMask) -> int:
    """Betti number 0: the pieces of the foreground."""
    return betti_numbers(mask, connectivity=CONNECTIVITY)[0]


def betti0_error(prediction: BoolMask, truth: BoolMask) -> int:
    """How many pieces the prediction has too many or too few."""
    return betti_errors(prediction, truth, connectivity=CONNECTIVITY)[0]
