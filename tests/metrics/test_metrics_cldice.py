"""Promise: clDice equals brute force, is 1 of a perfect prediction, and leaves out no part."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.morphology import skeletonize

from benchmarks.topology.losses.skeleton_recall import soft_recall, tubed_skeleton
from scnp_kernels.metrics import cldice
from scnp_kernels.metrics.skeleton import skeleton
from tests import metrics_brute_force as brute_force
from tests.metrics_brute_force import Mask

SHAPE = (32, 32, 64)
CENTRE = 16


def volume(*parts: tuple[slice, ...]) -> Mask:
    made = np.zeros(SHAPE, np.bool_)
    for part in parts:
        made[part] = True
    return made


def bar(side: int, start: int = 2, end: int = 62, at: int = CENTRE) -> tuple[slice, ...]:
    """A bar along the last axis."""
    across = slice(at - side // 2, at - side // 2 + side)
    return across, across, slice(start, end)


def rod(
    shape: tuple[int, ...], direction: list[float], radius: float, length: float, off: list[float]
) -> tuple[Mask, npt.NDArray[np.float64]]:
    """A rod so far off the middle, and every pixel's place along it."""
    axis = np.array(direction) / np.linalg.norm(direction)
    away = np.moveaxis(np.indices(shape), 0, -1) - np.array(shape) / 2 - off
    along = away @ axis
    across = np.linalg.norm(away - along[..., None] * axis, axis=-1)
    return (across <= radius) & (np.abs(along) <= length / 2), along


@pytest.mark.parametrize(("dimensions", "longest"), [(2, 5), (3, 4)])
def test_cldice_equals_brute_force_on_1000_images(dimensions: int, longest: int) -> None:
    random = np.random.default_rng(dimensions)
    different = 0
    for _ in range(1000):
        shape = tuple(random.integers(1, longest + 1, dimensions))
        truth = random.random(shape) < random.uniform(0.1, 1)
        prediction = truth ^ (random.random(shape) < random.choice([0.05, 0.2, 0.5]))
        expected = brute_force.cldice(prediction, truth, skeletonize)
        assert cldice(prediction, truth) == pytest.approx(expected), (prediction, truth)
        assert cldice(truth, truth) == 1
        different += expected not in (0, 1)
    assert different > 300


@pytest.mark.parametrize(
    "mask",
    [
        *(pytest.param(volume(bar(side)), id=f"bar of {side}") for side in range(1, 9)),
        pytest.param(volume((slice(8, 16),) * 3), id="cube"),
        pytest.param(volume((slice(8, 12), slice(2, 30), slice(2, 62))), id="sheet of 4"),
        pytest.param(volume((slice(8, 11), slice(2, 30), slice(2, 62))), id="sheet of 3"),
        pytest.param(np.ones((32, 32, 32), np.bool_), id="all foreground"),
        pytest.param(np.ones((1, 4, 4), np.bool_), id="one slice"),
        pytest.param(volume(bar(14)) & ~volume(bar(10)), id="tube with a wall of 2"),
    ],
)
def test_a_perfect_prediction_has_one_and_none_has_zero(mask: Mask) -> None:
    assert cldice(mask, mask) == 1
    assert cldice(np.zeros_like(mask), mask) == cldice(mask, np.zeros_like(mask)) == 0
    labels = torch.from_numpy(mask.astype(np.int64))[None]
    missed = torch.stack((torch.ones_like(labels), torch.zeros_like(labels)), 1).float()
    assert soft_recall(missed, labels, tubed_skeleton(labels)) < 0.01


def test_no_component_is_left_out() -> None:
    thick, thin = volume(bar(4, at=8)), volume(bar(3, at=24))
    # 57 pixels of skeleton in the thick one, 58 in the thin one, and nothing false.
    sensitivity = 58 / (57 + 58)
    assert cldice(thin, thick | thin) == pytest.approx(2 * sensitivity / (1 + sensitivity))
    noise = np.random.default_rng(0).random((12, 12, 12)) < 0.15
    for piece in brute_force.components(brute_force.pixels_of(noise), 26):
        assert any(skeleton(noise)[pixel] for pixel in piece)


@pytest.mark.parametrize(("left", "right"), [(4, 3), (2, 3), (6, 3), (4, 5), (8, 5)])
def test_no_part_of_a_component_is_left_out(left: int, right: int) -> None:
    # Thinning alone leaves nothing of the half whose width is even.
    whole = volume(bar(left, 2, 32), bar(right, 32, 62))
    half = whole.copy()
    half[:, :, :32] = False
    assert cldice(half, whole) == pytest.approx(2 / 3, abs=0.06)
    across = skeleton(whole).sum(axis=(0, 1))
    assert across[10:56].max() <= 2
    assert (across[:32] > 0).sum() > 20


def test_rods_at_any_angle_keep_most_of_their_length() -> None:
    random = np.random.default_rng(0)
    for _ in range(40):
        radius = random.uniform(0.9, 3)
        mask, along = rod((48, 48, 48), list(random.normal(size=3)), radius, 40, [-0.3] * 3)
        found = along[skeleton(mask)]
        assert np.ptp(found) > 40 - 2 * radius - 8 * (radius + 1)
        assert (skeleton(mask) <= mask).all()


def test_a_thick_diagonal_in_2d_keeps_its_length() -> None:
    for width in (2.5, 3.0, 3.5, 5.0, 5.5, 6.0, 8.0, 8.5):
        mask, along = rod((80, 80), [1, 1], width / 2, 60, [0.2, -0.3])
        assert np.ptp(along[skeletonize(mask)]) < 1  # thinning alone leaves a dot
        assert np.ptp(along[skeleton(mask)]) > 60 - 2 * width


def test_ordinary_images_have_the_published_skeleton() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        mask = random.random((24, 24)) < random.uniform(0.1, 0.9)
        assert (skeleton(mask) == skeletonize(mask)).all()
    for side in (1, 3, 5, 7):
        odd = volume(bar(side), (slice(15, 18), slice(2, 30), slice(30, 33)))
        assert (skeleton(odd) == (skeletonize(odd) != 0)).all()


@pytest.mark.parametrize("shape", [(9, 20), (9, 5, 20)])
def test_cldice_of_a_line_found_by_half(shape: tuple[int, ...]) -> None:
    line = np.zeros(shape, np.bool_)
    line[(4,) * (len(shape) - 1)] = True
    half = line.copy()
    half[..., 10:] = False
    assert cldice(half, line) == cldice(line, half) == pytest.approx(2 / 3)


def test_cldice_of_empty_masks() -> None:
    empty, full = np.zeros((4, 4), np.bool_), np.ones((4, 4), np.bool_)
    assert cldice(empty, empty) == 1
    assert cldice(empty, full) == cldice(full, empty) == 0
    assert cldice(np.zeros((0, 4)), np.zeros((0, 4))) == 1


def test_a_skeleton_counts_by_its_length_in_space() -> None:
    # Two lines of 20 pixels; the one along the first axis is five times as long in space.
    long, short = np.zeros((2, 24, 24, 24), np.bool_)
    long[2:22, 4, 4] = short[12, 12, 2:22] = True
    both = long | short
    for found, share in ((long, 5 / 6), (short, 1 / 6)):
        expected = 2 * share / (1 + share)
        assert cldice(found, both, spacing=(5, 1, 1)) == pytest.approx(expected)
        assert cldice(found, both, spacing=0.3) == cldice(found, both) == pytest.approx(2 / 3)
    assert cldice(both, both, spacing=(5, 1, 1)) == 1


def test_lengths_in_space_equal_brute_force() -> None:
    random = np.random.default_rng(0)
    for dimensions in (2, 3):
        spacing = (2.5, 0.5, 1.0)[:dimensions]
        for _ in range(50):
            truth = random.random((7,) * dimensions) < 0.25
            prediction = truth & (random.random(truth.shape) < 0.8)
            shares = []
            for one, other in ((prediction, truth), (truth, prediction)):
                line = np.argwhere(skeleton(one))
                weights = []
                for pixel in line:
                    steps = [p - pixel for p in line if np.abs(p - pixel).max() == 1]
                    ratios = [math.hypot(*(s * spacing)) / math.hypot(*s) for s in steps]
                    alone = math.prod(spacing) ** (1 / dimensions)
                    weights.append(sum(ratios) / len(ratios) if ratios else alone)
                inside = other[tuple(line.T)]
                shares.append((inside * weights).sum() / sum(weights) if weights else 0)
            expected = 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0
            assert cldice(prediction, truth, spacing=spacing) == pytest.approx(expected)


def test_small_components_do_not_count() -> None:
    line, speck = np.zeros((2, 9, 20), np.bool_)
    line[2], speck[7, 4:7] = True, True
    assert cldice(line | speck, line) < 1
    assert cldice(line | speck, line, smallest_component=4) == 1
    assert cldice(line, line | speck, smallest_component=4) == 1
