"""The losses of the topology benchmark, each on a case worked out by hand."""

from __future__ import annotations

from math import log

import gudhi
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.topology.losses import LOSSES, MODES, penalized
from benchmarks.topology.losses.regionwise import rectified_maps
from benchmarks.topology.losses.segmentation_loss import one_hot
from benchmarks.topology.losses.skeleton_recall import tubed_skeleton
from benchmarks.topology.losses.topoloss import (
    WEIGHT,
    features,
    patches,
    persistence_distance,
)

NEARLY_DONE = 0.95
SURE = 40.0  # a logit whose probability is 1 in float32
SIDES = {2: (20, 24), 3: (8, 10, 9)}


def binary_logits(foreground: Tensor) -> Tensor:
    """Logits [1, 2, *spatial] whose softmax gives the foreground these probabilities [*spatial]."""
    return torch.stack([torch.zeros_like(foreground), torch.logit(foreground)])[None]


def value(name: str, foreground: Tensor, truth: Tensor, progress: float = 1.0) -> float:
    loss = LOSSES[name](2, truth.dim())
    return float(loss(binary_logits(foreground), truth[None], progress))


# Four pixels: two of the foreground, at .8 and .6, and two of the background, at .3 and .1.
FOUR = torch.tensor([[0.8, 0.6], [0.3, 0.1]])
TRUTH_OF_FOUR = torch.tensor([[1, 1], [0, 0]])
DICE_OF_FOUR = ((1 - 2 * 1.4 / (1.8 + 2)) + (1 - 2 * 1.6 / (2.2 + 2))) / 2
CROSS_ENTROPY_OF_FOUR = -(log(0.8) + log(0.6) + log(0.7) + log(0.9)) / 4


@pytest.mark.parametrize("axes", [(), (0,)], ids=["2D", "3D"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ce", CROSS_ENTROPY_OF_FOUR),
        ("dice", DICE_OF_FOUR),
        ("ce_dice", CROSS_ENTROPY_OF_FOUR + DICE_OF_FOUR),
        # TP / (TP + .3 FP + .7 FN) of foreground and background.
        (
            "tversky",
            ((1 - 1.4 / (1.4 + 0.3 * 0.4 + 0.7 * 0.6)) + (1 - 1.6 / (1.6 + 0.3 * 0.6 + 0.7 * 0.4)))
            / 2,
        ),
        # The mean over 4 pixels and 2 classes of -(1 - p)^2 log p.
        (
            "focal",
            -(0.2**2 * log(0.8) + 0.4**2 * log(0.6) + 0.3**2 * log(0.7) + 0.1**2 * log(0.9)) / 8,
        ),
    ],
)
def test_four_pixels(name: str, expected: float, axes: tuple[int, ...]) -> None:
    foreground, truth = FOUR, TRUTH_OF_FOUR
    for axis in axes:
        foreground, truth = foreground.unsqueeze(axis), truth.unsqueeze(axis)
    assert value(name, foreground, truth) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 5)], ids=["2D", "3D"])
def test_cldice_of_a_line_found_in_part(shape: tuple[int, ...]) -> None:
    # A line one pixel thick is its own skeleton. Three of its five pixels are found, and nothing
    # else: all of the prediction is true (4 / 4 with the smoothing), of the truth 4 / 6.
    truth = torch.zeros(shape, dtype=torch.long)
    line = truth[(2,) * (len(shape) - 1)]  # a view [5]
    line.fill_(1)
    logits = torch.full((1, 2, *shape), -SURE)
    logits[0, 0][truth == 0] = SURE
    logits[0, 1][(2,) * (len(shape) - 1)][:3] = SURE
    logits[0, 0][(2,) * (len(shape) - 1)][3:] = SURE
    soft_dice = 1 - (2 * 3 + 1) / (3 + 5 + 1)
    precision, sensitivity = 1, 4 / 6
    soft_cldice = 1 - 2 * precision * sensitivity / (precision + sensitivity)
    found = LOSSES["cldice"](2, len(shape))(logits, truth[None], 1.0)
    assert float(found) == pytest.approx((soft_dice + soft_cldice) / 2, rel=1e-3)


@pytest.mark.parametrize("shape", [(7, 9), (7, 7, 9)], ids=["2D", "3D"])
def test_skeleton_recall_of_a_line(shape: tuple[int, ...]) -> None:
    # A line's tubed skeleton, cut to the line, is the line.
    truth = torch.zeros(shape, dtype=torch.long)
    truth[(3,) * (len(shape) - 1)] = 1
    foreground = torch.full(shape, 0.2)
    foreground[truth == 1] = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 0.8, 0.7, 0.6, 0.5])
    recall = (2 * (0.5 + 0.6 + 0.7 + 0.8) + 0.9) / 9
    expected = value("ce_dice", foreground, truth) + 1 - recall
    assert value("skeleton_recall", foreground, truth) == pytest.approx(expected, rel=1e-4)


def test_the_tube_reaches_two_pixels_from_the_skeleton() -> None:
    truth = torch.zeros(1, 13, 40, dtype=torch.long)
    truth[:, 2:11] = 1  # 9 pixels thick around row 6
    tube = tubed_skeleton(truth)
    assert tube[0, :, 20].nonzero().flatten().tolist() == [4, 5, 6, 7, 8]


def test_the_tube_takes_its_classes_from_the_truth() -> None:
    # One line of two classes: found whole in the first, not at all in the second.
    truth = torch.zeros(1, 5, 8, dtype=torch.long)
    truth[0, 2, :4], truth[0, 2, 4:] = 1, 2
    logits = torch.full((1, 3, 5, 8), -SURE)
    logits[0, 0] = SURE
    logits[0, :, 2, :4] = torch.tensor([-SURE, SURE, -SURE])[:, None]
    loss = LOSSES["skeleton_recall"](3, 2)(logits, truth, 1.0)
    rest = LOSSES["ce_dice"](3, 2)(logits, truth, 1.0)
    assert float(loss - rest) == pytest.approx(1 - (1 + 0) / 2, abs=1e-4)


@pytest.mark.parametrize("axes", [(), (0,)], ids=["2D", "3D"])
def test_region_wise(axes: tuple[int, ...]) -> None:
    foreground = torch.tensor([[0.1, 0.6, 0.7, 0.8, 0.9]])
    truth = torch.tensor([[0, 1, 1, 1, 1]])  # 1 to 4 pixels from the background
    for axis in axes:
        foreground, truth = foreground.unsqueeze(axis), truth.unsqueeze(axis)
    of_foreground = 0.1 - 0.6 * 0.25 - 0.7 * 0.5 - 0.8 * 0.75 - 0.9
    of_background = -0.9 + 0.4 + 0.3 + 0.2 + 0.1
    expected = (of_foreground + of_background) / 10
    assert value("regionwise", foreground, truth) == pytest.approx(expected, rel=1e-4)


def test_region_wise_maps_without_a_border() -> None:
    maps = rectified_maps(torch.zeros(1, 4, 4, dtype=torch.long), classes=2)
    assert maps[0, 0].eq(-1).all()
    assert maps[0, 1].eq(1).all()


# Two blobs, of at most .9 and .6, that meet at .3, on .1.
BLOBS = torch.full((5, 9), 0.1)
BLOBS[1:4, 1:4] = 0.7
BLOBS[2, 2] = 0.9
BLOBS[2, 4] = 0.3
BLOBS[2, 5:8] = 0.6
LEFT = torch.zeros(5, 9, dtype=torch.long)
LEFT[1:4, 1:4] = 1
BOTH = LEFT.clone()
BOTH[2, 5:8] = 1


def distance(foreground: Tensor, truth: Tensor, side: int = 64) -> float:
    probabilities = torch.stack([1 - foreground, foreground])[None]
    return float(persistence_distance(probabilities, truth[None], side))


def test_a_false_component_is_pushed_to_the_diagonal() -> None:
    # The true one is born at .9 instead of 1; the false one lives from .6 to .3.
    assert distance(BLOBS, LEFT) == pytest.approx(0.1**2 + (0.6 - 0.3) ** 2 / 2, rel=1e-4)


def test_a_true_component_is_pushed_to_its_place() -> None:
    assert distance(BLOBS, BOTH) == pytest.approx(0.1**2 + (0.4**2 + 0.3**2), rel=1e-4)


def test_without_foreground_every_component_goes() -> None:
    expected = (0.9**2 + (0.6 - 0.3) ** 2) / 2
    assert distance(BLOBS, torch.zeros_like(LEFT)) == pytest.approx(expected, rel=1e-4)


def test_patches_are_compared_one_by_one() -> None:
    # Cut between the columns 4 and 5 each blob stands alone; the second is true in its patch.
    columns = distance(BLOBS[:, :5], BOTH[:, :5]) + distance(BLOBS[:, 5:], BOTH[:, 5:])
    assert columns == pytest.approx(0.1**2 + 0.4**2, rel=1e-4)
    assert distance(BLOBS, BOTH, side=5) == pytest.approx(columns, rel=1e-5)
    assert [*patches((5, 9), 5)] == [(slice(0, 5), slice(0, 5)), (slice(0, 5), slice(5, 10))]


def test_what_hardly_persists_is_left_alone() -> None:
    flat = BLOBS.clone()
    flat[2, 4] = 0.58  # the second blob lives for .02
    assert distance(flat, LEFT) == pytest.approx(0.1**2, rel=1e-4)


def test_a_true_hole() -> None:
    # A ring at .8 around a pixel at .2, in nothing.
    ring = torch.full((7, 7), 1e-6)
    ring[2:5, 2:5] = 0.8
    truth = (ring > 0.5).long()
    ring[3, 3] = 0.2
    truth[3, 3] = 0
    component, hole = 0.2**2, 0.2**2 + 0.2**2
    assert distance(ring, truth) == pytest.approx(component + hole, rel=1e-4)
    truth[3, 3] = 1  # and a false one
    assert distance(ring, truth) == pytest.approx(component + 0.6**2 / 2, rel=1e-4)


def test_a_cavity_in_three_dimensions() -> None:
    shell = torch.full((5, 5, 5), 1e-6)
    shell[1:4, 1:4, 1:4] = 0.9
    truth = (shell > 0.5).long()
    shell[2, 2, 2] = 0.3
    truth[2, 2, 2] = 0
    assert distance(shell, truth) == pytest.approx(0.1**2 + 0.1**2 + 0.3**2, rel=1e-4)


def test_the_gradient_fills_the_gap_or_removes_the_blob() -> None:
    foreground = BLOBS.clone().requires_grad_()
    probabilities = torch.stack([torch.zeros_like(foreground), foreground])[None]
    persistence_distance(probabilities, LEFT[None], 64).backward()
    assert foreground.grad is not None
    gradient = {tuple(where): foreground.grad[tuple(where)] for where in foreground.grad.nonzero()}
    by_place = {(int(y), int(x)): float(g) for (y, x), g in gradient.items()}
    births = [place for place in by_place if place[1] > 4]
    assert len(births) == 1  # one pixel of the false blob, whichever
    assert by_place[(2, 2)] == pytest.approx(-0.2, abs=1e-5)
    assert by_place[births[0]] == pytest.approx(0.3, abs=1e-5)
    assert by_place[(2, 4)] == pytest.approx(-0.3, abs=1e-5)
    assert len(by_place) == 3


def test_topoloss_adds_the_distance_in_the_last_tenth() -> None:
    plain = value("ce_dice", BLOBS, LEFT)
    added = WEIGHT * (0.1**2 + 0.3**2 / 2) / BLOBS.numel()
    assert value("topoloss", BLOBS, LEFT, progress=0.89) == pytest.approx(plain)
    assert value("topoloss", BLOBS, LEFT, progress=0.9) == pytest.approx(plain + added, rel=1e-4)


@pytest.mark.parametrize("shape", [(17, 23), (7, 9, 8)], ids=["2D", "3D"])
def test_features_are_those_of_another_library(shape: tuple[int, ...]) -> None:
    probability = np.random.default_rng(3).random(shape)
    found = features(probability)
    levels = np.append(probability.ravel(), 0.0)
    dots = sorted(zip(found.dimension, levels[found.birth], levels[found.death], strict=True))
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=1 - probability)
    expected = [(k, 1 - b, max(1 - d, 0.0)) for k, (b, d) in complex_.persistence()]
    np.testing.assert_allclose(dots, sorted(expected), atol=1e-12)


def smooth_case(dimensions: int, classes: int) -> tuple[Tensor, Tensor]:
    """Logits [2, C, *spatial] and a label map [2, *spatial] with every class."""
    generator = torch.Generator().manual_seed(dimensions)
    shape = SIDES[dimensions]
    logits = torch.randn(2, classes, *shape, generator=generator)
    label_map = torch.zeros(2, *shape, dtype=torch.long)
    for label in range(1, classes):
        label_map[..., 5 * label - 3 : 5 * label - 1] = label
    return logits, label_map


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_descent_lowers_the_loss(name: str, dimensions: int, classes: int, mode: str) -> None:
    logits, label_map = smooth_case(dimensions, 3)
    logits, label_map = logits[:, :classes], label_map.clamp_max(classes - 1)
    loss = penalized(LOSSES[name](classes, dimensions), mode, 3)
    logits.requires_grad_()
    before = loss(logits, label_map, NEARLY_DONE)
    assert before.shape == ()
    (gradient,) = torch.autograd.grad(before, logits)
    assert gradient.isfinite().all()
    step = 0.01 / gradient.abs().max()
    with torch.no_grad():
        after = loss(logits - step * gradient, label_map, NEARLY_DONE)
    assert after.item() < before.item()


@pytest.mark.parametrize("present", [0, 1])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mode", MODES)
def test_an_absent_class(name: str, dimensions: int, present: int, mode: str) -> None:
    logits, label_map = smooth_case(dimensions, 2)
    label_map = torch.full_like(label_map, present)
    loss = penalized(LOSSES[name](2, dimensions), mode, 3)
    logits.requires_grad_()
    value_ = loss(logits, label_map, NEARLY_DONE)
    (gradient,) = torch.autograd.grad(value_, logits)
    assert value_.isfinite()
    assert gradient.isfinite().all()
    assert gradient.any()


def listing(logits: Tensor, label_map: Tensor) -> Tensor:
    """The paper's three lines, in 2D with windows of 3."""
    masks = one_hot(label_map, logits.shape[1]).float()
    lowest = -functional.max_pool2d(-(logits * masks + 9999 * (1 - masks)), 3, 1, 1)
    highest = functional.max_pool2d(logits * (1 - masks) - 9999 * masks, 3, 1, 1)
    return lowest * masks + highest * (1 - masks)


@pytest.mark.parametrize("name", LOSSES)
def test_modes(name: str) -> None:
    logits, label_map = smooth_case(2, 3)
    loss = LOSSES[name](3, 2)
    plain = loss(logits, label_map, NEARLY_DONE)
    on_scnp = loss(listing(logits, label_map), label_map, NEARLY_DONE)
    values = [penalized(loss, mode, 3)(logits, label_map, NEARLY_DONE) for mode in MODES]
    wanted = {"off": plain, "on": on_scnp, "joint": plain + on_scnp, "warm_up": on_scnp}
    torch.testing.assert_close(values, [wanted[mode] for mode in MODES])
    assert float(plain) != pytest.approx(float(on_scnp))


def test_arguments() -> None:
    with pytest.raises(ValueError, match=r"^mode: got 'sometimes', takes one of 'off', 'on', "):
        penalized(LOSSES["ce"](2, 2), "sometimes", 3)
    for factory in LOSSES.values():
        with pytest.raises(ValueError, match=r"^classes: got 1, takes 2 or more"):
            factory(1, 2)
        with pytest.raises(ValueError, match=r"^spatial_dimensions: got 1, takes 2 or 3"):
            factory(2, 1)
