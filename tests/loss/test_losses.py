"""SCNPDiceCELoss equals MONAI's Dice and torch's cross entropy on SCNP logits."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from torch import Tensor

from scnp_kernels import SCNPDiceCELoss, scnp, scnp_dice_ce_loss
from scnp_kernels.rules import loss_options
from tests.generators import seeded

SHAPES = ((17,), (9, 12), (5, 6, 7))


def _inputs(
    shape: tuple[int, ...], classes: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits [2, C, *shape] that want a gradient, and a label map [2, *shape]."""
    generator = seeded(7)
    logits = torch.randn(2, classes, *shape, dtype=dtype, generator=generator)
    labels = torch.randint(0, max(classes, 2), (2, *shape), generator=generator)
    return logits.requires_grad_(), labels


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """[2, *shape] -> [2, C, *shape], float64."""
    return F.one_hot(labels, classes).movedim(-1, 1).double()


def _same_value_and_gradient(value: Tensor, expected: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize(("scnp_weight", "plain_weight"), [(1, 0), (0.5, 2), (0, 1)])
def test_softmax_is_monai_dice_and_torch_cross_entropy(
    shape: tuple[int, ...],
    batch_dice: bool,
    include_background: bool,
    scnp_weight: float,
    plain_weight: float,
) -> None:
    logits, labels = _inputs(shape, classes=3)
    class_weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    value = scnp_dice_ce_loss(
        logits,
        labels,
        ce_weight=0.7,
        dice_weight=1.3,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        include_background=include_background,
        batch_dice=batch_dice,
        smooth=0.1,
        class_weights=class_weights,
    )
    dice = DiceLoss(
        softmax=True,
        include_background=include_background,
        batch=batch_dice,
        smooth_nr=0.1,
        smooth_dr=0.1,
    )

    def plain(z: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(z, labels, weight=class_weights)
        dice_loss: Tensor = dice(z, _one_hot(labels, 3))
        return 0.7 * cross_entropy + 1.3 * dice_loss

    expected = scnp_weight * plain(scnp(logits, labels)) + plain_weight * plain(logits)
    _same_value_and_gradient(value, expected, logits)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch_dice", [False, True])
def test_sigmoid_with_overlapping_masks(shape: tuple[int, ...], batch_dice: bool) -> None:
    logits, _ = _inputs(shape, classes=3)
    masks = torch.rand(logits.shape, generator=seeded(3)) < 0.4
    pos_weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    value = scnp_dice_ce_loss(
        logits, masks, 5, activation="sigmoid", batch_dice=batch_dice, class_weights=pos_weight
    )
    penalized = scnp(logits, masks, 5)
    # One weight per channel, seen from the channels' axis.
    weight = pos_weight.view(3, *(1,) * len(shape))
    cross_entropy = F.binary_cross_entropy_with_logits(penalized, masks.double(), pos_weight=weight)
    dice = DiceLoss(sigmoid=True, batch=batch_dice)(penalized, masks.double())
    _same_value_and_gradient(value, cross_entropy + dice, logits)


def test_binary_label_map() -> None:
    logits, labels = _inputs((9, 12), classes=1)
    value = scnp_dice_ce_loss(logits, labels, activation="sigmoid")
    penalized, masks = scnp(logits, labels), labels.unsqueeze(1).double()
    expected = F.binary_cross_entropy_with_logits(penalized, masks)
    expected = expected + DiceLoss(sigmoid=True)(penalized, masks)
    _same_value_and_gradient(value, expected, logits)


def test_softmax_with_masks_is_cross_entropy_of_probabilities() -> None:
    logits, labels = _inputs((9, 12), classes=3)
    masks = _one_hot(labels, 3)
    class_weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    value = scnp_dice_ce_loss(logits, masks, class_weights=class_weights, dice_weight=0)
    expected = F.cross_entropy(scnp(logits, masks), masks, weight=class_weights)
    _same_value_and_gradient(value, expected, logits)


@pytest.mark.parametrize("as_mask", [False, True])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_invalid_pixels_take_no_part(as_mask: bool, activation: str) -> None:
    """By hand: Dice and cross entropy of the valid pixels alone; no gradient elsewhere."""
    logits, labels = _inputs((9, 12), classes=3)
    valid = torch.rand(labels.shape, generator=seeded(5)) < 0.7
    options: dict[str, Any] = {"mask": valid} if as_mask else {"ignore_index": 255}
    given = labels if as_mask else torch.where(valid, labels, 255)
    value = scnp_dice_ce_loss(
        logits, given, activation=activation, plain_weight=1, smooth=0.5, **options
    )
    masks = _one_hot(labels, 3)

    def plain(z: Tensor) -> Tensor:
        p = z.softmax(1) if activation == "softmax" else z.sigmoid()
        total = z.new_zeros(())
        for image, k in itertools.product(range(2), range(3)):
            here = valid[image]
            p_k, y_k = p[image, k][here], masks[image, k][here]
            dice = (2 * (p_k * y_k).sum() + 0.5) / (p_k.sum() + y_k.sum() + 0.5)
            total = total + (1 - dice) / 6
        picked = z.movedim(1, -1)[valid]
        if activation == "softmax":
            return total + F.cross_entropy(picked, labels[valid])
        return total + F.binary_cross_entropy_with_logits(picked, masks.movedim(1, -1)[valid])

    expected = plain(scnp(logits, given, **options)) + plain(logits)
    _same_value_and_gradient(value, expected, logits)
    (gradient,) = torch.autograd.grad(
        scnp_dice_ce_loss(logits, given, activation=activation, plain_weight=1, **options), logits
    )
    assert (gradient.movedim(1, -1)[~valid] == 0).all()
    assert gradient.abs().sum() > 0


def test_labels_compare_as_mathematical_integers() -> None:
    """255 of a uint8 map is not -1, and a class beyond 127 is not a negative int8."""
    logits, labels = _inputs((9, 12), classes=3)
    narrow = labels.to(torch.uint8)
    narrow[:, 0] = 255
    options: dict[str, Any] = {"scnp_weight": 0, "plain_weight": 1, "validate": False}
    value = scnp_dice_ce_loss(logits, narrow, ignore_index=-1, **options)
    expected = scnp_dice_ce_loss(logits, narrow.long(), ignore_index=-1, **options)
    _same_value_and_gradient(value, expected, logits)
    assert value != scnp_dice_ce_loss(logits, narrow, ignore_index=255, **options)


@pytest.mark.parametrize("scnp_weight", [0, 1])
def test_labels_out_of_range_are_found(scnp_weight: float) -> None:
    logits, labels = _inputs((9, 12), classes=3)
    labels[1, 2, 3] = 3
    with pytest.raises(ValueError, match="target: got a label map that holds 3"):
        scnp_dice_ce_loss(logits, labels, scnp_weight=scnp_weight, plain_weight=1)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("smooth", [0.0, 1e-5])
def test_absent_classes_and_ignored_images_stay_finite(activation: str, smooth: float) -> None:
    logits, labels = _inputs((9, 12), classes=3)
    labels.zero_()
    labels[1] = 255
    value = scnp_dice_ce_loss(
        logits, labels, activation=activation, ignore_index=255, smooth=smooth, plain_weight=1
    )
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()
    labels.fill_(255)
    nothing = scnp_dice_ce_loss(
        logits, labels, activation=activation, ignore_index=255, dice_weight=0
    )
    assert nothing.item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_large_logits_do_not_overflow(dtype: torch.dtype, activation: str) -> None:
    logits, labels = _inputs((9, 12), classes=3, dtype=dtype)
    large = (logits.detach() * 1e4).clamp(-1e4, 1e4).requires_grad_()
    value = scnp_dice_ce_loss(large, labels, activation=activation, plain_weight=1)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert large.grad is not None
    assert large.grad.dtype == dtype
    assert large.grad.isfinite().all()


def test_float32_agrees_with_float64() -> None:
    logits, labels = _inputs((64, 96), classes=4)
    exact = scnp_dice_ce_loss(logits, labels, plain_weight=1)
    (expected,) = torch.autograd.grad(exact, logits)
    single = logits.detach().float().requires_grad_()
    value = scnp_dice_ce_loss(single, labels, plain_weight=1)
    (gradient,) = torch.autograd.grad(value, single)
    assert abs(value.item() - exact.item()) <= 1e-6
    assert (gradient - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_gradcheck() -> None:
    logits, labels = _inputs((4, 5), classes=3)
    assert torch.autograd.gradcheck(
        lambda z: scnp_dice_ce_loss(z, labels, plain_weight=0.5), (logits,)
    )


def test_compiles_whole() -> None:
    logits, labels = _inputs((9, 12), classes=3, dtype=torch.float32)
    criterion = SCNPDiceCELoss(plain_weight=1, class_weights=[1.0, 2.0, 3.0], ignore_index=2)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    _same_value_and_gradient(compiled(logits, labels), criterion(logits, labels), logits)


def test_module_is_the_function_and_copies() -> None:
    logits, labels = _inputs((9, 12), classes=3)
    mask = torch.rand(labels.shape, generator=seeded(1)) < 0.8
    options: dict[str, Any] = {
        "activation": "softmax",
        "ce_weight": 0.3,
        "dice_weight": 2.0,
        "scnp_weight": 0.5,
        "plain_weight": 0.25,
        "include_background": False,
        "batch_dice": True,
        "smooth": 0.2,
        "class_weights": [0.5, 1.0, 2.0],
        "ignore_index": 1,
        "distributed": False,
        "validate": True,
        "backend": "reference",
    }
    criterion = SCNPDiceCELoss(5, **options)
    expected = scnp_dice_ce_loss(logits, labels, 5, mask=mask, **options)
    assert torch.equal(criterion(logits, labels, mask), expected)
    assert torch.equal(copy.deepcopy(criterion)(logits, labels, mask), expected)
    assert criterion.state_dict() == {}
    assert "batch_dice=True" in repr(criterion)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"activation": "relu"}, ValueError, "activation: got 'relu'"),
        ({"ce_weight": 0, "dice_weight": 0}, ValueError, "ce_weight, dice_weight"),
        ({"scnp_weight": 0}, ValueError, "scnp_weight, plain_weight"),
        ({"plain_weight": -1}, ValueError, "plain_weight: got -1"),
        ({"smooth": float("nan")}, ValueError, "smooth: got nan"),
        ({"smooth": "1"}, TypeError, "smooth: got '1'"),
        ({"batch_dice": 1}, TypeError, "batch_dice: got 1"),
        ({"include_background": None}, TypeError, "include_background: got None"),
        ({"distributed": 1}, TypeError, "distributed: got 1"),
        ({"class_weights": "abc"}, TypeError, "class_weights: got 'abc'"),
        ({"class_weights": [[1.0]]}, ValueError, r"class_weights: got shape \(1, 1\)"),
        ({"backend": "gpu"}, ValueError, "backend: got 'gpu'"),
    ],
)
def test_errors_of_both_entrances(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    logits, labels = _inputs((9, 12), classes=3)
    with pytest.raises(error, match=text):
        scnp_dice_ce_loss(logits, labels, **options)
    with pytest.raises(error, match=text):
        SCNPDiceCELoss(**options)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64, Fraction])
def test_weights_are_any_real_number(number: Callable[[float], Any]) -> None:
    """Numbers that come out of an array or a configuration are not always Python's own."""
    logits, labels = _inputs((9, 12), classes=3)
    names = ("ce_weight", "dice_weight", "scnp_weight", "plain_weight", "smooth")
    options: dict[str, Any] = {name: number(2) for name in names}
    as_floats: dict[str, Any] = dict.fromkeys(names, 2.0)
    expected = scnp_dice_ce_loss(logits, labels, **as_floats)
    assert torch.equal(scnp_dice_ce_loss(logits, labels, **options), expected)
    criterion = SCNPDiceCELoss(**options)
    assert torch.equal(criterion(logits, labels), expected)
    assert all(type(getattr(criterion.options, name)) is float for name in names)


@pytest.mark.parametrize("weight", [np.float32("inf"), np.float32("nan"), np.float64(-1)])
def test_weights_of_numpy_are_finite_and_not_negative(weight: Any) -> None:
    with pytest.raises(ValueError, match="ce_weight: got"):
        SCNPDiceCELoss(ce_weight=weight)


def test_errors_that_need_the_logits() -> None:
    logits, labels = _inputs((9, 12), classes=1)
    with pytest.raises(ValueError, match="activation"):
        scnp_dice_ce_loss(logits, labels)
    with pytest.raises(ValueError, match="include_background"):
        scnp_dice_ce_loss(logits, labels, activation="sigmoid", include_background=False)
    with pytest.raises(ValueError, match="class_weights: got 2 numbers"):
        scnp_dice_ce_loss(logits, labels, activation="sigmoid", class_weights=[1.0, 2.0])


def test_distributed_without_ranks_is_an_error_when_called() -> None:
    logits, labels = _inputs((9, 12), classes=3)
    criterion = SCNPDiceCELoss(batch_dice=True, distributed=True)
    with pytest.raises(ValueError, match="distributed: got True"):
        criterion(logits, labels)


@pytest.mark.parametrize(
    ("keywords", "options", "by_name"),
    [
        (loss_options.DiceCEKeywords, loss_options.DiceCEOptions, {"kernel_size"}),
        (loss_options.TverskyKeywords, loss_options.TverskyOptions, {"kernel_size"}),
        # An alpha per class is no option, so that alpha is an argument by itself.
        (loss_options.FocalKeywords, loss_options.FocalOptions, {"kernel_size", "alpha"}),
    ],
)
def test_what_a_type_checker_reads_are_the_options(
    keywords: type, options: type[loss_options.LossOptions], by_name: set[str]
) -> None:
    types = get_type_hints(options)
    expected = {field.name: types[field.name] for field in fields(options)}
    for name in by_name:
        del expected[name]
    assert get_type_hints(keywords) == expected
