"""The topology benchmark's measures and statistics, against cases by hand and other libraries."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from benchmarks.topology.measures import Mask, betti0_error, component_count
from benchmarks.topology.statistics import over_images, over_seeds, permutation_test


def mask(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_connectivity_decides_what_touches() -> None:
    diagonal = mask("#..", ".#.", "..#")
    assert component_count(diagonal, 8) == 1
    assert component_count(diagonal, 4) == 3
    edge, corner = np.zeros((2, 3, 3, 3), np.bool_)
    edge[0, 0, 0] = edge[0, 1, 1] = True
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert [component_count(edge, neighbours) for neighbours in (6, 18, 26)] == [2, 1, 1]
    assert [component_count(corner, neighbours) for neighbours in (6, 18, 26)] == [2, 2, 1]


def test_betti0_error_counts_both_ways() -> None:
    line, broken, empty = mask("#####"), mask("##.##"), mask(".....")
    assert betti0_error(broken, line, 8) == betti0_error(line, broken, 8) == 1
    assert betti0_error(empty, line, 8) == 1
    assert betti0_error(empty, empty, 8) == 0


@pytest.mark.parametrize(("shape", "wrong"), [((2, 2), 6), ((2, 2, 2), 8)])
def test_a_connectivity_of_another_dimension(shape: tuple[int, ...], wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"^connectivity: got {wrong} in {len(shape)}D, takes "):
        component_count(np.ones(shape, np.bool_), wrong)


def test_seeds_are_summarised_over_their_images_means() -> None:
    scores = [[0.0, 2.0, 4.0], [1.0, 3.0, 8.0]]  # [seeds, images]: means 2 and 4
    assert over_seeds(scores) == pytest.approx((3.0, sqrt(2)))
    assert over_images(scores).tolist() == [0.5, 2.5, 6.0]
    mean, deviation = over_seeds([[1.0, 2.0]])
    assert mean == 1.5
    assert np.isnan(deviation)


@pytest.mark.parametrize("scores", [[1.0, 2.0], [[]], []])
def test_scores_of_another_shape(scores: list[object]) -> None:
    with pytest.raises(ValueError, match=r"^scores: got shape .*, takes \[seeds, images\]"):
        over_seeds(np.array(scores, np.float64))


def test_all_swaps_of_few_images() -> None:
    # Of 8 swaps of (1, 2, 3) only none and all give a sum of 6; with a tie (1, 2, 3 against 0, 0,
    # 6) the sum 0 is the least that there is.
    assert permutation_test([1, 2, 3], [0, 0, 0]) == 2 / 8
    assert permutation_test([1, 2, 3], [0, 0, 6]) == 1.0
    assert permutation_test([5.0], [5.0]) == 1.0


@pytest.mark.parametrize("images", [4, 9, 13])
def test_exact_p_values_are_scipys(images: int) -> None:
    random = np.random.default_rng(images)
    first, second = random.random(images), random.random(images) - 0.2
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert permutation_test(first, second) == pytest.approx(expected.pvalue)


def by_every_swap(first: np.ndarray, second: np.ndarray) -> float:
    """The exact p-value, as it is defined."""
    differences = np.asarray(first) - np.asarray(second)
    signs = np.array(list(product((1, -1), repeat=len(differences))))
    observed = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    return float((np.abs(signs @ differences) >= observed).mean())


@pytest.mark.parametrize("images", range(1, 13))
def test_exact_p_values_with_ties(images: int) -> None:
    # Tenths, whose sums differ in their last bits by the order in which they are added.
    first, second = np.random.default_rng(images).integers(0, 5, (2, images)) / 10
    assert permutation_test(first, second) == by_every_swap(first, second)
    assert permutation_test(first, first) == 1.0


def test_random_p_values_are_near_the_exact_one() -> None:
    random = np.random.default_rng(0)
    first = random.random(14)
    second = first + random.normal(0.08, 0.2, 14)
    exact = permutation_test(first, second, permutations=2**14)
    sampled = permutation_test(first, second, permutations=2**14 - 1)
    assert 0.05 < exact < 0.6
    assert sampled == pytest.approx(exact, abs=0.015)
    assert sampled != exact
    assert sampled == permutation_test(second, first, permutations=2**14 - 1)


def test_the_smallest_p_value_is_not_zero() -> None:
    assert permutation_test(np.arange(1.0, 51.0), np.zeros(50)) == 1 / 10_001


def test_false_positives_are_as_frequent_as_the_level() -> None:
    random = np.random.default_rng(1)
    differences = random.normal(size=(400, 20))
    tests = [permutation_test(row, np.zeros(20), permutations=999) for row in differences]
    assert 0.02 < np.mean(np.array(tests) < 0.05) < 0.09


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([1.0, 2.0], [1.0], "takes two lists of the same length"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "takes two lists of the same length"),
        ([], [], "takes finite numbers"),
        ([1.0, np.nan], [1.0, 2.0], "takes finite numbers"),
    ],
)
def test_what_cannot_be_compared(first: list[float], second: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        permutation_test(first, second)
