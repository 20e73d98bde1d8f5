"""The three measures of the demo: Dice, Betti-0 error and clDice of one segmentation."""

from __future__ import annotations

import numpy as np
from skimage.measure import label
from skimage.morphology import skeletonize

from benchmarks.common.images import BoolMask


def dice(prediction: BoolMask, truth: BoolMask) -> float:
    """Overlap of prediction and truth, 0 to 1; two empty masks agree."""
    total = int(prediction.sum()) + int(truth.sum())
    return 2.0 * int((prediction & truth).sum()) / total if total else 1.0


def component_count(mask: BoolMask) -> int:
    """Betti number 0: the pieces of the foreground, where a diagonal step connects."""
    _, count = label(mask, connectivity=2, return_num=True)
    return int(count)


def betti0_error(prediction: BoolMask, truth: BoolMask) -> int:
    """How many pieces the prediction has too many or too few."""
    return abs(component_count(prediction) - component_count(truth))


def cldice(prediction: BoolMask, truth: BoolMask) -> float:
    """Centreline Dice (Shit et al., CVPR 2021), 0 to 1; two empty masks agree.

    The harmonic mean of the share of the predicted skeleton that lies inside the truth and the
    share of the true skeleton that lies inside the prediction.
    """
    if not prediction.any() and not truth.any():
        return 1.0
    precision = _share_inside(skeletonize(prediction), truth)
    sensitivity = _share_inside(skeletonize(truth), prediction)
    total = precision + sensitivity
    return 2.0 * precision * sensitivity / total if total else 0.0


def _share_inside(skeleton: BoolMask, mask: BoolMask) -> float:
    length = int(np.count_nonzero(skeleton))
    return int(np.count_nonzero(skeleton & mask)) / length if length else 0.0
