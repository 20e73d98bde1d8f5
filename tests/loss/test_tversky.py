"""SCNPTverskyLoss equals MONAI's TverskyLoss, beside torch's cross entropy, on SCNP logits."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import pytest
import torch
import torch.nn.functional as F
from monai.losses.tversky import TverskyLoss
from torch import Tensor

from scnp_kernels import (
    SCNPDiceCELoss,
    SCNPFocalLoss,
    SCNPTverskyLoss,
    scnp,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)
from tests.generators import seeded

SHAPES = ((17,), (9, 12), (5, 6, 7))


def inputs(
    shape: tuple[int, ...], classes: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits [2, C, *shape] that want a gradient, and a label map [2, *shape]."""
    generator = seeded(7)
    logits = torch.randn(2, classes, *shape, dtype=dtype, generator=generator)
    labels = torch.randint(0, max(classes, 2), (2, *shape), generator=generator)
    return logits.requires_grad_(), labels


def same_value_and_gradient(value: Tensor, expected: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize(("scnp_weight", "plain_weight"), [(1, 0), (0.5, 2), (0, 1)])
def test_softmax_is_monai(
    shape: tuple[int, ...],
    batch: bool,
    include_background: bool,
    scnp_weight: float,
    plain_weight: float,
) -> None:
    logits, labels = inputs(shape)
    class_weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    value = scnp_tversky_loss(
        logits,
        labels,
        alpha=0.3,
        beta=0.8,
        tversky_weight=1.3,
        ce_weight=0.7,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        include_background=include_background,
        batch_dice=batch,
        smooth=0.1,
        class_weights=class_weights,
    )
    tversky = TverskyLoss(
        to_onehot_y=True,
        softmax=True,
        alpha=0.3,
        beta=0.8,
        include_background=include_background,
        batch=batch,
        smooth_nr=0.1,
        smooth_dr=0.1,
    )

    def plain(z: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(z, labels, weight=class_weights)
        loss: Tensor = 1.3 * tversky(z, labels.unsqueeze(1)) + 0.7 * cross_entropy
        return loss

    expected = scnp_weight * plain(scnp(logits, labels)) + plain_weight * plain(logits)
    same_value_and_gradient(value, expected, logits)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [False, True])
def test_sigmoid_with_overlapping_masks_is_monai(shape: tuple[int, ...], batch: bool) -> None:
    logits, _ = inputs(shape)
    masks = torch.rand(logits.shape, generator=seeded(3)) < 0.4
    options: dict[str, Any] = {"alpha": 0.2, "beta": 0.9}
    value = scnp_tversky_loss(
        logits, masks, 5, activation="sigmoid", batch_dice=batch, plain_weight=1, **options
    )
    monai = TverskyLoss(sigmoid=True, batch=batch, **options)
    expected = monai(scnp(logits, masks, 5), masks.double()) + monai(logits, masks.double())
    same_value_and_gradient(value, expected, logits)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("as_mask", [False, True])
def test_invalid_pixels_take_no_part(activation: str, as_mask: bool) -> None:
    """By hand: the index of the valid pixels alone."""
    logits, labels = inputs((9, 12))
    valid = torch.rand(labels.shape, generator=seeded(5)) < 0.7
    options: dict[str, Any] = {"mask": valid} if as_mask else {"ignore_index": 255}
    given = labels if as_mask else torch.where(valid, labels, 255)
    value = scnp_tversky_loss(
        logits, given, activation=activation, alpha=0.3, beta=0.6, smooth=0.5, **options
    )
    penalized = scnp(logits, given, **options)
    p = penalized.softmax(1) if activation == "softmax" else penalized.sigmoid()
    expected = logits.new_zeros(())
    for image, k in itertools.product(range(2), range(3)):
        here = valid[image]
        p_k, y_k = p[image, k][here], (labels[image][here] == k).double()
        hit, false, missed = (p_k * y_k).sum(), (p_k * (1 - y_k)).sum(), ((1 - p_k) * y_k).sum()
        expected = expected + (1 - (hit + 0.5) / (hit + 0.3 * false + 0.6 * missed + 0.5)) / 6
    same_value_and_gradient(value, expected, logits)
    (gradient,) = torch.autograd.grad(
        scnp_tversky_loss(logits, given, activation=activation, **options), logits
    )
    assert (gradient.movedim(1, -1)[~valid] == 0).all()


def test_half_and_half_is_dice() -> None:
    logits, labels = inputs((9, 12))
    value = scnp_tversky_loss(logits, labels, smooth=0.25)
    expected = scnp_dice_ce_loss(logits, labels, ce_weight=0, smooth=0.5)
    same_value_and_gradient(value, expected, logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_every_dtype(dtype: torch.dtype, backend: str) -> None:
    logits, labels = inputs((9, 12), dtype=dtype)
    value = scnp_tversky_loss(logits, labels, alpha=0.3, beta=0.7, backend=backend)
    exact = logits.detach().double().requires_grad_()
    expected = scnp_tversky_loss(exact, labels, alpha=0.3, beta=0.7)
    assert value.dtype == torch.float32
    assert abs(value.item() - expected.item()) <= 1e-6
    (gradient,) = torch.autograd.grad(value, logits)
    (expected_gradient,) = torch.autograd.grad(expected, exact)
    assert gradient.dtype == dtype
    tolerance = 2 * torch.finfo(dtype).eps
    bound = tolerance * expected_gradient.abs() + 1e-5 * expected_gradient.abs().max()
    assert ((gradient.double() - expected_gradient).abs() <= bound).all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_all_derivatives(activation: str) -> None:
    logits, labels = inputs((4, 5))

    def loss(z: Tensor) -> Tensor:
        return scnp_tversky_loss(
            z, labels, alpha=0.3, beta=0.7, plain_weight=0.5, activation=activation
        )

    assert torch.autograd.gradcheck(loss, (logits,))
    assert torch.autograd.gradgradcheck(loss, (logits,))


@pytest.mark.parametrize("smooth", [0.0, 1e-5])
def test_absent_classes_stay_finite(smooth: float) -> None:
    logits, labels = inputs((9, 12))
    value = scnp_tversky_loss(logits, labels.zero_(), smooth=smooth)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_module_is_the_function() -> None:
    logits, labels = inputs((9, 12))
    options: dict[str, Any] = {"alpha": 0.3, "beta": 0.9, "ce_weight": 0.5, "plain_weight": 1.0}
    criterion = SCNPTverskyLoss(5, class_weights=[1.0, 2.0, 0.5], **options)
    expected = scnp_tversky_loss(logits, labels, 5, class_weights=[1.0, 2.0, 0.5], **options)
    assert torch.equal(criterion(logits, labels), expected)
    assert "alpha=0.3" in repr(criterion)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    same_value_and_gradient(compiled(logits, labels), expected, logits)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"alpha": -1}, ValueError, "alpha: got -1"),
        ({"beta": "1"}, TypeError, "beta: got '1'"),
        ({"tversky_weight": 0}, ValueError, "ce_weight, tversky_weight: got 0 and 0"),
        ({"dice_weight": 1}, TypeError, "dice_weight"),
    ],
)
def test_errors_of_both_entrances(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    logits, labels = inputs((9, 12))
    with pytest.raises(error, match=text):
        scnp_tversky_loss(logits, labels, **options)
    with pytest.raises(error, match=text):
        SCNPTverskyLoss(**options)


@pytest.mark.parametrize("module", [SCNPDiceCELoss, SCNPTverskyLoss, SCNPFocalLoss])
def test_signatures_show_every_option(module: Any) -> None:
    """They arrive as ``**options``; who asks for help sees names and defaults."""
    shown = inspect.signature(module).parameters
    options = module().options
    for name, value in vars(options).items():
        assert shown[name].default == value, name
    assert set(shown) == {*vars(options), "class_weights"}


@pytest.mark.parametrize(
    "entrance",
    [
        scnp_dice_ce_loss,
        scnp_tversky_loss,
        scnp_focal_loss,
        SCNPDiceCELoss.__init__,
        SCNPTverskyLoss.__init__,
        SCNPFocalLoss.__init__,
    ],
)
def test_type_hints_can_be_read(entrance: Any) -> None:
    """Tools that make command lines or check calls from them do so at run time."""
    hints = get_type_hints(entrance)
    assert hints["kernel_size"] == int | Sequence[int]
    assert "options" not in hints  # as in the signature, which shows each of them


@pytest.mark.parametrize("entrance", [SCNPTverskyLoss, scnp_tversky_loss])
def test_an_option_of_another_loss_is_named(entrance: Callable[..., object]) -> None:
    given = () if entrance is SCNPTverskyLoss else (torch.zeros(1, 2, 4), torch.zeros(1, 4).long())
    with pytest.raises(
        TypeError, match=r"^gamma: got an option .*, takes kernel_size.*alpha, beta"
    ):
        entrance(*given, gamma=2.0)
