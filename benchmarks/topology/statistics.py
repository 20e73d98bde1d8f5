"""From scores to statements: means over seeds, and whether two methods differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

PERMUTATIONS = 10_000
DIGITS = 9  # that sums of the same numbers in another order share
SIGNS_AT_ONCE = 1 << 20  # values held in memory

Array = npt.NDArray[np.float64]


class Summary(NamedTuple):
    """A score over the seeds, each the mean over all test images."""

    mean: float
    deviation: float  # nan with one seed


def over_seeds(scores: npt.ArrayLike) -> Summary:
    """Mean and standard deviation over the seeds, for scores [seeds, images].

    Example:
        >>> over_seeds([[1.0, 3.0], [3.0, 5.0]])
        Summary(mean=3.0, deviation=1.4142135623730951)
    """
    means = _scores(scores).mean(axis=1)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else float("nan")
    return Summary(float(means.mean()), deviation)


def over_images(scores: npt.ArrayLike) -> Array:
    """Each image's mean over its seeds, [images], for scores [seeds, images]."""
    means: Array = _scores(scores).mean(axis=0)
    return means


def permutation_test(
    first: Sequence[float] | Array,
    second: Sequence[float] | Array,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> float:
    """The p-value of a paired permutation test of the difference in means, on both sides.

    How often the difference would be as large if every image's two scores could as well be
    swapped. Give it one number per image, the mean over its seeds: scores of the same image under
    several seeds are no independent images. All swaps are tried where they are no more than
    ``permutations``; otherwise that many at random, and the swaps that happened count among them
    (Phipson and Smyth, 2010), so that it is never 0.

    With n images the p-value is at least 2 / 2^n: with 5 or fewer, never below 0.05.

    Raises:
        ValueError: The two differ in length, are empty, or hold other than finite numbers.

    Example:
        >>> permutation_test([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0])  # 2 of 16 swaps
        0.125
    """
    if np.ndim(first) != 1 or np.shape(first) != np.shape(second):
        raise ValueError(
            f"first, second: got shapes {np.shape(first)} and {np.shape(second)}, takes two lists "
            "of the same length, one number per image"
        )
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if not differences.size or not np.isfinite(differences).all():
        raise ValueError("first, second: got none or not finite numbers, takes finite numbers")
    images = len(differences)
    if images == 1:
        return 1.0
    size = float(np.abs(differences).sum()) or 1.0
    # Of one sample scipy swaps the signs. Sums of the same numbers in another order may differ in
    # their last bits.
    test = stats.permutation_test(
        (differences / size,),
        lambda signed, axis: np.abs(signed.sum(axis=axis)).round(DIGITS),
        permutation_type="samples",
        alternative="greater",
        n_resamples=permutations,
        batch=max(1, SIGNS_AT_ONCE // images),
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float] | Array) -> Array:
    """The p-values corrected for how many they are: below a level, no false one with that chance.

    The k-th smallest of n, from 0, is multiplied by n - k; none may be below one before it, or
    above 1.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values)
    factors = len(values) - np.arange(len(values))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return corrected


class Effect(NamedTuple):
    """A difference with the interval around it, of which 95 % hold the true one."""

    value: float
    low: float  # nan where there is no interval
    high: float


def effect(first: Array, second: Array) -> Effect:
    """By how much the mean over images differs, with a bootstrap interval (BCa), over images.

    One number per image, paired. A single image has no interval; equal differences, themselves.

    Example:
        >>> effect(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        Effect(value=-2.0, low=-2.0, high=-2.0)
    """
    differences = first - second
    value = float(differences.mean())
    if np.ptp(differences) <= 10.0**-DIGITS:
        spread = value if len(differences) > 1 else float("nan")
        return Effect(value, spread, spread)
    return Effect(value, *_interval((differences,), np.mean, "BCa"))


def relative_effect(first: Array, second: Array) -> Effect:
    """The same as a share of the second's mean, nan where that is 0; an interval of percentiles.

    Images are drawn in pairs, so that the second's mean varies as well.

    Example:
        >>> relative_effect(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
        Effect(value=-0.5, low=-0.5, high=-0.5)
    """

    def change(one: Array, other: Array, axis: int = -1) -> Array:
        with np.errstate(all="ignore"):  # a draw in which the second has no error at all
            shares: Array = one.mean(axis=axis) / other.mean(axis=axis) - 1
        return np.where(np.isfinite(shares), shares, np.nan)

    value = float(change(first, second))
    if len(first) < 2 or not np.isfinite(value):
        return Effect(value, float("nan"), float("nan"))
    return Effect(value, *_interval((first, second), change, "percentile"))


def _interval(data: tuple[Array, ...], statistic: Callable[..., Array], method: str) -> list[float]:
    with warnings.catch_warnings():  # where a draw has no value there is no interval: nan
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            data, statistic, paired=True, method=method, rng=np.random.default_rng(0)
        ).confidence_interval
    return [float(interval.low), float(interval.high)]


def least_p_value(images: int) -> float:
    """What no paired test on so many images can go below."""
    return float(0.5 ** (images - 1))


def _scores(scores: npt.ArrayLike) -> Array:
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"scores: got shape {values.shape}, takes [seeds, images], none empty")
    return values
