"""Which trainings failed: those that found next to nothing of a class, or of the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.topology.datasets import Labels

NEXT_TO_NOTHING = 0.01  # of the truth's pixels
Pixels = dict[str, list[list[int]]]  # by split: what was found and what is true, each by class


def count_pixels(
    predictions: Mapping[str, Labels], truth: Mapping[str, Labels], classes: int
) -> Pixels:
    """The pixels of every class over all images of a split; both have keys "split/image"."""
    totals: dict[str, npt.NDArray[np.int64]] = {}
    for key, label_map in truth.items():
        pair = (predictions[key], label_map)
        counts = np.array([[np.sum(of == label) for label in range(classes)] for of in pair])
        split = key.split("/")[0]
        totals[split] = totals.get(split, np.zeros_like(counts)) + counts
    return {split: counts.tolist() for split, counts in totals.items()}


def collapse(found: Sequence[int], true: Sequence[int]) -> str:
    """What a run found in a split where its training failed, from pixels by class; otherwise "".

    It found nothing of a foreground class where it predicts at most 1 % of the truth's pixels in
    total, and everything where so little background is left.

    Example:
        >>> collapse([100, 0], [90, 10]), collapse([0, 100], [90, 10]), collapse([95, 5], [90, 10])
        ('nothing', 'everything', '')
        >>> collapse([90, 10, 0], [80, 10, 10])
        'nothing of class 2'
    """
    pairs = zip(found, true, strict=True)
    lost = [label for label, (own, all_) in enumerate(pairs) if own <= NEXT_TO_NOTHING * all_ > 0]
    if not lost:
        return ""
    if lost[0] == 0:
        return "everything"
    if len(lost) == np.count_nonzero(true[1:]):
        return "nothing"
    return f"nothing of class {', '.join(map(str, lost))}"
