"""The topology benchmark's measures and statistics, against cases by hand and other libraries."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
from scipy import stats

from benchmarks.topology import measures
from benchmarks.topology.measures import Mask, betti0_error, component_count, roundness_error
from benchmarks.topology.statistics import over_images, over_seeds, permutation_test


def mask(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def ball(radius: int, dimensions: int) -> Mask:
    axes = np.indices((2 * radius + 5,) * dimensions) - radius - 2
    inside: Mask = (axes**2).sum(axis=0) < (radius + 0.5) ** 2
    return inside


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


def test_dice_and_cldice_in_three_dimensions() -> None:
    rod, half = np.zeros((5, 5, 12), np.bool_), np.zeros((5, 5, 12), np.bool_)
    rod[2, 2], half[2, 2, :6] = True, True
    assert measures.dice(half, rod) == pytest.approx(2 * 6 / 18)
    assert measures.cldice(half, rod) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert measures.cldice(rod, rod) == 1.0


def test_roundness_of_few_pixels() -> None:
    # The outline of one pixel is a square on its corner, of area 1/2 and side 1/sqrt(2).
    assert measures.roundness(mask("#")) == pytest.approx(4 * pi * 0.5 / (4 / sqrt(2)) ** 2)
    # Of three in a row: area 2.5, two sides of 2 and four slanted ones.
    perimeter = 2 * 2 + 4 / sqrt(2)
    assert measures.roundness(mask("###")) == pytest.approx(4 * pi * 2.5 / perimeter**2)
    # A hole adds to the outline, and its pixel's area is not the piece's.
    area, perimeter = 8.5 - 0.5, 4 * 2 + 4 / sqrt(2) + 4 / sqrt(2)
    ring = mask("###", "#.#", "###")
    assert measures.roundness(ring) == pytest.approx(4 * pi * area / perimeter**2)
    # One voxel: an octahedron.
    assert measures.roundness(np.ones((1, 1, 1), np.bool_)) == pytest.approx(0.8456, abs=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_roundness_orders_shapes(dimensions: int) -> None:
    box = np.ones((4,) * (dimensions - 1) + (20,), np.bool_)
    cube = np.ones((20,) * dimensions, np.bool_)
    disc = measures.roundness(ball(20 // dimensions, dimensions))
    assert 0.85 < disc < 1
    assert measures.roundness(box) < measures.roundness(cube) < disc


def test_roundness_error() -> None:
    two = np.zeros((20, 40), np.bool_)
    two[5:15, 5:15] = two[5:15, 25:35] = True
    merged = two.copy()
    merged[9:11] = True
    square = measures.roundness(np.ones((10, 10), np.bool_))
    assert roundness_error(two, two) == 0
    expected = square - measures.roundness(merged)
    assert roundness_error(merged, two) == pytest.approx(expected)
    assert expected > 0.3
    empty = np.zeros_like(two)
    assert roundness_error(empty, two) == pytest.approx(square)
    assert roundness_error(empty, empty) == 0


def test_cells_that_meet_at_a_corner_are_two() -> None:
    corner = mask("##..", "##..", "..##", "..##")
    one_square = measures.roundness(np.ones((2, 2), np.bool_))
    assert roundness_error(corner, np.zeros_like(corner)) == pytest.approx(one_square)
    together = measures.roundness(corner)
    assert roundness_error(corner, np.zeros_like(corner), 8) == pytest.approx(together)
    assert together < one_square


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
