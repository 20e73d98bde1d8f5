"""SCNPLoss around MONAI's losses: the loss on the paper's listing, value, gradient and type."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.data import MetaTensor
from monai.losses import (
    DeepSupervisionLoss,
    DiceCELoss,
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
    SoftclDiceLoss,
    SoftDiceclDiceLoss,
    TverskyLoss,
)
from torch import Tensor, nn

from scnp_kernels import SCNPLoss
from tests.integrations.expected import loss_and_gradient, one_hot_of, penalized

CLASSES = 3
SHAPES = {"2D": (2, CLASSES, 12, 10), "3D": (2, CLASSES, 6, 8, 7)}

SOFTMAX_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "DiceCE": lambda **options: DiceCELoss(softmax=True, **options),
    "Tversky": lambda **options: TverskyLoss(softmax=True, **options),
    "Focal": lambda **options: FocalLoss(use_softmax=True, **options),
    "GeneralizedDice": lambda **options: GeneralizedDiceLoss(softmax=True, **options),
    "SoftclDice": lambda **options: SoftclDiceLoss(softmax=True, **options),
    "SoftDiceclDice": lambda **options: SoftDiceclDiceLoss(softmax=True, **options),
}
SIGMOID_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "DiceCE": lambda **options: DiceCELoss(sigmoid=True, **options),
    "Tversky": lambda **options: TverskyLoss(sigmoid=True, **options),
    "Focal": lambda **options: FocalLoss(use_softmax=False, **options),
    "GeneralizedDice": lambda **options: GeneralizedDiceLoss(sigmoid=True, **options),
    "SoftclDice": lambda **options: SoftclDiceLoss(sigmoid=True, **options),
    "SoftDiceclDice": lambda **options: SoftDiceclDiceLoss(sigmoid=True, **options),
}


def check(loss: nn.Module, logits: Tensor, target: Tensor, one_hot: Tensor) -> None:
    """Alone and with the plain loss, against the loss on the listing."""
    for plain_weight in (0.0, 1.0):
        actual = SCNPLoss(loss, kernel_size=3, plain_weight=plain_weight)(logits, target)
        expected = loss(penalized(logits, one_hot), target)
        if plain_weight:
            expected = expected + loss(logits, target)
        torch.testing.assert_close(
            loss_and_gradient(actual, [logits]), loss_and_gradient(expected, [logits])
        )


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("make", SOFTMAX_LOSSES.values(), ids=SOFTMAX_LOSSES)
def test_softmax_of_a_label_map(
    make: Callable[..., nn.Module], shape: tuple[int, ...], include_background: bool
) -> None:
    """MONAI's label maps are floats [B, 1, *spatial]; the loss makes them one-hot itself."""
    logits = torch.randn(shape).requires_grad_()
    target = torch.randint(0, CLASSES, (shape[0], 1, *shape[2:])).float()
    loss = make(to_onehot_y=True, include_background=include_background)
    check(loss, logits, target, one_hot_of(target[:, 0], CLASSES))


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("make", SIGMOID_LOSSES.values(), ids=SIGMOID_LOSSES)
def test_sigmoid_of_overlapping_masks(
    make: Callable[..., nn.Module], shape: tuple[int, ...], include_background: bool
) -> None:
    """Float masks, one per channel; a pixel may belong to several classes, or to none."""
    logits = torch.randn(shape).requires_grad_()
    target = (torch.rand(shape) < 0.4).float()
    check(make(include_background=include_background), logits, target, target)


@pytest.mark.parametrize("make", SIGMOID_LOSSES.values(), ids=SIGMOID_LOSSES)
def test_one_channel(make: Callable[..., nn.Module]) -> None:
    logits = torch.randn(2, 1, 12, 10).requires_grad_()
    target = (torch.rand(2, 1, 12, 10) < 0.4).float()
    check(make(), logits, target, target)


def test_deep_supervision() -> None:
    """SCNP inside MONAI's loop over scales: every scale has a target of its own."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    scales = [torch.randn(2, CLASSES, s, s).requires_grad_() for s in (16, 8, 4)]
    target = torch.randint(0, CLASSES, (2, 1, 16, 16)).float()
    actual = DeepSupervisionLoss(SCNPLoss(loss))(  # type: ignore[arg-type]
        scales, target
    )

    expected = torch.zeros(())
    for weight, logits in zip((1.0, 0.5, 0.25), scales, strict=True):
        size = logits.shape[2:]
        smaller = nn.functional.interpolate(target, size=size, mode="nearest-exact")
        worst = penalized(logits, one_hot_of(smaller[:, 0], CLASSES))
        expected = expected + weight * loss(worst, smaller)
    torch.testing.assert_close(
        loss_and_gradient(actual, scales), loss_and_gradient(expected, scales)
    )


def test_deep_supervision_outside_in_is_an_error_that_says_so() -> None:
    loss = SCNPLoss(DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True)))
    with pytest.raises(
        TypeError, match=r"logits: got a list of 1 outputs.*DeepSupervisionLoss\(SCNPLoss"
    ):
        loss([torch.randn(2, CLASSES, 8, 8)], torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("logits_type", [torch.Tensor, MetaTensor])
@pytest.mark.parametrize("target_type", [torch.Tensor, MetaTensor])
@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_meta_tensors(
    logits_type: type[Tensor], target_type: type[Tensor], plain_weight: float
) -> None:
    """The types that the loss alone gives, forward and backward, and the same values."""
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    values = torch.randn(2, CLASSES, 12, 10)
    labels = torch.randint(0, CLASSES, (2, 1, 12, 10)).float()

    def run(criterion: nn.Module) -> tuple[Tensor, Tensor]:
        logits, target = values.clone(), labels
        if logits_type is MetaTensor:
            logits = MetaTensor(logits)
        if target_type is MetaTensor:
            target = MetaTensor(target)
        logits.requires_grad_()
        result = criterion(logits, target)
        result.backward()
        assert logits.grad is not None
        return result, logits.grad

    plain, plain_gradient = run(loss)
    result, gradient = run(SCNPLoss(loss, plain_weight=plain_weight))
    assert type(result) is type(plain)
    assert type(gradient) is type(plain_gradient)

    logits = values.clone().requires_grad_()
    expected = loss(penalized(logits, one_hot_of(labels[:, 0], CLASSES)), labels)
    if plain_weight:
        expected = expected + loss(logits, labels)
    torch.testing.assert_close(
        (torch.Tensor(result.detach()).as_subclass(Tensor), gradient.as_subclass(Tensor)),
        loss_and_gradient(expected, [logits]),
    )


@pytest.mark.parametrize("make", SOFTMAX_LOSSES.values(), ids=SOFTMAX_LOSSES)
def test_training_lowers_the_loss(make: Callable[..., nn.Module]) -> None:
    """A few steps of a small network, through MONAI's loss; and the plain Dice falls with it."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, CLASSES, 5, padding=2)
    )
    labels = torch.arange(24).div(8, rounding_mode="floor").expand(2, 1, 24, 24).float()
    images = labels + 0.2 * torch.randn(2, 1, 24, 24)
    criterion = SCNPLoss(make(to_onehot_y=True))
    plain = DiceLoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses, dice = [], []
    for _ in range(40):
        logits = network(images)
        loss = criterion(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        dice.append(plain(logits.detach(), labels).item())
    assert losses[-1] < 0.9 * losses[0]
    assert dice[-1] < dice[0]
