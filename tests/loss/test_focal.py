"""SCNPFocalLoss equals MONAI's FocalLoss, and beside Dice its DiceFocalLoss, on SCNP logits."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceFocalLoss, DiceLoss
from monai.losses.focal_loss import FocalLoss
from torch import Tensor

from scnp_kernels import SCNPFocalLoss, scnp, scnp_dice_ce_loss, scnp_focal_loss
from tests.generators import seeded
from tests.loss.test_tversky import SHAPES, inputs, same_value_and_gradient

ALPHAS = (None, 0.3, [0.2, 1.5, 0.7])


def one_hot(labels: Tensor, classes: int = 3) -> Tensor:
    """[2, *shape] -> [2, C, *shape], float64."""
    return F.one_hot(labels, classes).movedim(-1, 1).double()


class Float64FocalLoss(FocalLoss):
    """MONAI's, without its step down to float32."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        class Kept(Tensor):
            def float(self) -> Tensor:
                return self

        result: Tensor = super().forward(input.as_subclass(Kept), target.as_subclass(Kept))
        return result.as_subclass(Tensor)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("alpha", ALPHAS, ids=str)
@pytest.mark.parametrize(("scnp_weight", "plain_weight"), [(1, 0), (0.5, 2), (0, 1)])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_is_monai(
    shape: tuple[int, ...],
    gamma: float,
    alpha: Any,
    scnp_weight: float,
    plain_weight: float,
    activation: str,
) -> None:
    logits, labels = inputs(shape)
    class_weights = [0.5, 2.0, 1.0]
    value = scnp_focal_loss(
        logits,
        labels,
        gamma=gamma,
        alpha=alpha,
        focal_weight=1.3,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        class_weights=class_weights,
        activation=activation,
    )
    monai = Float64FocalLoss(
        gamma=gamma, alpha=alpha, weight=class_weights, use_softmax=activation == "softmax"
    )

    def plain(z: Tensor) -> Tensor:
        loss: Tensor = 1.3 * monai(z, one_hot(labels))
        return loss

    expected = scnp_weight * plain(scnp(logits, labels)) + plain_weight * plain(logits)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        torch.autograd.grad(value, logits),
        torch.autograd.grad(expected, logits),
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_sigmoid_of_masks_with_dice_is_monai(batch: bool, include_background: bool) -> None:
    logits, _ = inputs((9, 12), dtype=torch.float32)
    masks = torch.rand(logits.shape, generator=seeded(3)) < 0.4
    value = scnp_focal_loss(
        logits,
        masks,
        5,
        gamma=1.5,
        alpha=0.3,
        activation="sigmoid",
        batch_dice=batch,
        include_background=include_background,
        dice_weight=0.7,
        focal_weight=1.3,
    )
    monai = DiceFocalLoss(
        sigmoid=True,
        batch=batch,
        include_background=include_background,
        gamma=1.5,
        alpha=0.3,
        lambda_dice=0.7,
        lambda_focal=1.3,
    )
    expected = monai(scnp(logits, masks, 5), masks.float())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, logits),
        torch.autograd.grad(expected, logits),
        rtol=1e-4,
        atol=1e-7,
    )


def test_softmax_with_dice_is_the_sum_of_both() -> None:
    logits, labels = inputs((9, 12))
    value = scnp_focal_loss(logits, labels, gamma=3.0, dice_weight=0.5, include_background=False)
    z = scnp(logits, labels)
    p = z.softmax(1)
    of_pixels = -((1 - p) ** 3) * p.log() * one_hot(labels)
    dice = DiceLoss(softmax=True, include_background=False)(z, one_hot(labels))
    same_value_and_gradient(value, of_pixels[:, 1:].mean() + 0.5 * dice, logits)


def test_monai_without_background_is_the_loss_of_the_other_channels() -> None:
    logits, labels = inputs((9, 12), dtype=torch.float32)
    value = scnp_focal_loss(logits[:, 1:], one_hot(labels)[:, 1:])
    monai = FocalLoss(use_softmax=True, include_background=False)
    same_value_and_gradient(value, monai(scnp(logits, labels), one_hot(labels)), logits)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("as_mask", [False, True])
def test_invalid_pixels_take_no_part(activation: str, as_mask: bool) -> None:
    """By hand; MONAI divides by the valid pixels alone, and so is 3 times as large."""
    logits, labels = inputs((9, 12))
    valid = torch.rand(labels.shape, generator=seeded(5)) < 0.7
    options: dict[str, Any] = {"mask": valid} if as_mask else {"ignore_index": 255}
    given = labels if as_mask else torch.where(valid, labels, 255)
    value = scnp_focal_loss(logits, given, activation=activation, plain_weight=1, **options)

    def plain(z: Tensor) -> Tensor:
        picked, y = z.movedim(1, -1)[valid], F.one_hot(labels[valid], 3)
        if activation == "softmax":
            p = picked.softmax(-1)
            return (-((1 - p) ** 2) * p.log() * y).mean()
        p = picked.sigmoid()
        return torch.where(y == 1, -((1 - p) ** 2) * p.log(), -(p**2) * (1 - p).log()).mean()

    expected = plain(scnp(logits, given, **options)) + plain(logits)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])
    assert (gradient.movedim(1, -1)[~valid] == 0).all()
    if not as_mask:
        monai = FocalLoss(use_softmax=activation == "softmax", ignore_index=255, to_onehot_y=True)
        alone = scnp_focal_loss(logits, given, activation=activation, ignore_index=255)
        penalized = scnp(logits, given, ignore_index=255)
        torch.testing.assert_close(3 * alone.float(), monai(penalized, given.unsqueeze(1)))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_gamma_0_is_cross_entropy_to_the_bit(activation: str) -> None:
    logits, labels = inputs((9, 12), dtype=torch.float32)
    focal = scnp_focal_loss(logits, labels, gamma=0.0, activation=activation)
    entropy = scnp_dice_ce_loss(logits, labels, dice_weight=0, activation=activation)
    classes = 3 if activation == "softmax" else 1  # a mean over the classes too
    torch.testing.assert_close(focal * classes, entropy)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("form", ["labels", "masks"])
def test_all_derivatives(activation: str, gamma: float, form: str) -> None:
    logits, labels = inputs((3, 4))
    target = labels if form == "labels" else torch.rand(logits.shape, generator=seeded(2)) < 0.5

    def loss(z: Tensor) -> Tensor:
        return scnp_focal_loss(
            z, target, gamma=gamma, plain_weight=0.5, activation=activation, alpha=0.3
        )

    assert torch.autograd.gradcheck(loss, (logits,))
    assert torch.autograd.gradgradcheck(loss, (logits,))
    leaf = logits.detach()
    many = torch.stack((leaf, leaf.neg()))
    mapped = torch.func.vmap(torch.func.grad(loss))(many)
    torch.testing.assert_close(mapped, torch.stack([torch.func.grad(loss)(z) for z in many]))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.25, 2.0, 3.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3, 4, 5])
@pytest.mark.parametrize("form", ["labels", "masks"])
def test_very_easy_and_very_hard_pixels(
    backend: str, activation: str, gamma: float, dtype: torch.dtype, classes: int, form: str
) -> None:
    """Where 1 - p, or p, is far below what a difference from 1 would leave of it."""
    spread = torch.linspace(-200, 200, 4001, dtype=torch.float64)
    logits = torch.zeros(1, classes, spread.numel(), dtype=torch.float64)
    logits[0, 0] = spread
    if activation == "softmax":
        spread = spread - math.log(classes - 1)  # the margin before all the others together
    target = torch.zeros_like(logits[:, 0], dtype=torch.int64)
    if form == "masks":
        target = one_hot(target, classes)
    options: dict[str, Any] = {"scnp_weight": 0, "plain_weight": 1, "activation": activation}
    weights = [1.0] + [0.0] * (classes - 1)  # the first class alone
    leaf = logits.to(dtype, copy=True).requires_grad_()
    loss = scnp_focal_loss(
        leaf, target, gamma=gamma, class_weights=weights, backend=backend, **options
    )
    (gradient,) = torch.autograd.grad(loss * classes * spread.numel(), leaf)
    # The derivative by the margin s of (1 - p)^gamma * -log p, with 1 - p = sigmoid(-s).
    log_q, log_p = F.logsigmoid(-spread), F.logsigmoid(spread)
    q, p = log_q.exp(), log_p.exp()
    expected = -((gamma * log_q).exp()) * (q - gamma * p * log_p)
    value = ((gamma * log_q).exp() * -log_p).sum() / (classes * spread.numel())
    torch.testing.assert_close(loss.double(), value, rtol=1e-6, atol=0)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(gradient[0, 0].double(), expected, rtol=tolerance, atol=tolerance)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("form", ["labels", "masks"])
def test_special_values(
    activation: str, value: float, classes: int, gamma: float, form: str
) -> None:
    """The kernels give what the composition gives; NaN is seen."""
    logits = torch.randn(1, classes, 5, 6, generator=seeded(4))
    logits[0, 1, 2, 3] = value
    target = torch.randint(0, classes, (1, 5, 6), generator=seeded(5))
    if form == "masks":
        target = torch.rand(logits.shape, generator=seeded(6)) < 0.5
    outcomes = []
    for backend in ("cpu", "reference"):
        leaf = logits.clone().requires_grad_()
        loss = scnp_focal_loss(leaf, target, gamma=gamma, activation=activation, backend=backend)
        loss.backward()
        assert leaf.grad is not None
        outcomes.append((loss.detach(), leaf.grad))
    for fused, composed in zip(*outcomes, strict=True):
        torch.testing.assert_close(fused, composed, equal_nan=True)
    if math.isnan(value):
        assert outcomes[0][0].isnan()
        assert outcomes[0][1].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_half_types(dtype: torch.dtype, backend: str, activation: str) -> None:
    logits, labels = inputs((9, 12), dtype=dtype)
    options: dict[str, Any] = {"activation": activation, "gamma": 2.5}
    value = scnp_focal_loss(logits, labels, backend=backend, **options)
    exact = logits.detach().double().requires_grad_()
    expected = scnp_focal_loss(exact, labels, **options)
    assert value.dtype == torch.float32
    assert abs(value.item() - expected.item()) <= 1e-6
    (gradient,) = torch.autograd.grad(value, logits)
    (wanted,) = torch.autograd.grad(expected, exact)
    bound = 2 * torch.finfo(dtype).eps * wanted.abs() + 1e-5 * wanted.abs().max()
    assert ((gradient.double() - wanted).abs() <= bound).all()


def test_module_is_the_function() -> None:
    logits, labels = inputs((9, 12))
    options: dict[str, Any] = {"gamma": 1.5, "dice_weight": 0.5, "plain_weight": 1.0}
    for alpha in ALPHAS:
        criterion = SCNPFocalLoss(5, alpha=alpha, class_weights=[1.0, 2.0, 0.5], **options)
        expected = scnp_focal_loss(
            logits, labels, 5, alpha=alpha, class_weights=[1.0, 2.0, 0.5], **options
        )
        assert torch.equal(criterion(logits, labels), expected)
    assert "gamma=1.5" in repr(criterion)
    assert criterion.state_dict() == {}
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    same_value_and_gradient(compiled(logits, labels), expected, logits)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"gamma": -1}, ValueError, "gamma: got -1"),
        ({"gamma": math.inf}, ValueError, "gamma: got inf"),
        ({"alpha": 1.5}, ValueError, "alpha: got 1.5, takes None, a number in"),
        ({"alpha": "1"}, TypeError, "alpha: got '1'"),
        ({"alpha": [[1.0]]}, ValueError, r"alpha: got shape \(1, 1\)"),
        ({"alpha": [1.0, -1.0, 1.0]}, ValueError, "alpha: got -1.0 among them"),
        ({"alpha": 0.5, "include_background": False}, ValueError, "alpha: got 0.5 with softmax"),
        ({"focal_weight": 0}, ValueError, "focal_weight, dice_weight: got 0 and 0"),
        ({"ce_weight": 1}, TypeError, "ce_weight"),
    ],
)
def test_errors_of_both_entrances(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    logits, labels = inputs((9, 12))
    with pytest.raises(error, match=text):
        scnp_focal_loss(logits, labels, **options)
    with pytest.raises(error, match=text):
        SCNPFocalLoss(**options)


@pytest.mark.parametrize(
    "alpha",
    [
        1.5, -0.5, math.nan, math.inf, True, "1",
        torch.tensor(0.5), np.array(0.5), torch.ones(3, dtype=torch.bool), torch.ones(1, 3),
        [1.0, -1.0, 1.0], [[1.0]], [1.0, "a"], {"a": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_errors_of_alpha_name_all_that_it_takes(alpha: Any) -> None:
    logits, labels = inputs((9, 12))
    takes = (
        "takes None, a number in [0, 1], or [C] finite numbers that are not negative, as a "
        "sequence, an array or a tensor"
    )
    for call in (partial(scnp_focal_loss, logits, labels), SCNPFocalLoss):
        with pytest.raises((TypeError, ValueError), match=r"^alpha: got ") as caught:
            call(alpha=alpha)
        assert takes in str(caught.value)
        is_scalar = isinstance(alpha, (torch.Tensor, np.ndarray)) and alpha.ndim == 0
        assert ("float(alpha) makes it a number" in str(caught.value)) == is_scalar


@pytest.mark.parametrize("weights", [2.0, "a", [1.0, math.nan, 1.0], [[1.0]], torch.tensor(0.5)])
def test_errors_of_class_weights_name_all_that_they_take(weights: Any) -> None:
    logits, labels = inputs((9, 12))
    with pytest.raises((TypeError, ValueError), match=r"^class_weights: got ") as caught:
        scnp_focal_loss(logits, labels, class_weights=weights)
    assert (
        "takes None, or [C] finite numbers that are not negative, as a sequence, an array or a "
        "tensor" in str(caught.value)
    )
    assert "makes it a number" not in str(caught.value)


def test_alpha_of_another_number_of_classes() -> None:
    logits, labels = inputs((9, 12))
    with pytest.raises(ValueError, match="alpha: got 2 numbers, takes C = 3"):
        scnp_focal_loss(logits, labels, alpha=[1.0, 2.0])


def test_alpha_of_classes_as_an_array() -> None:
    """As class_weights takes it."""
    logits, labels = inputs((9, 12))
    numbers = [0.25, 0.5, 1.0]
    expected = scnp_focal_loss(logits, labels, alpha=numbers)
    array: Any = np.array(numbers)
    assert torch.equal(scnp_focal_loss(logits, labels, alpha=array), expected)
    assert torch.equal(SCNPFocalLoss(alpha=array)(logits, labels), expected)
    scalar: Any = np.float32(0.25)
    expected = scnp_focal_loss(logits, labels, alpha=0.25)
    assert torch.equal(scnp_focal_loss(logits, labels, alpha=scalar), expected)
