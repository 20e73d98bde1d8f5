"""What the pages warn of in other libraries; where one changes, its page must too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kornia
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from scnp_kernels import SCNPLoss

IGNORE = 255
Loss = Callable[[Tensor, Tensor], Tensor]


def label_maps() -> tuple[Tensor, Tensor]:
    """Logits ``[2, 3, 8, 8]`` and labels ``[2, 8, 8]``, of which the upper half is ignored."""
    labels = torch.randint(0, 3, (2, 8, 8))
    labels[:, :4] = IGNORE
    return torch.randn(2, 3, 8, 8), labels


def masks() -> tuple[Tensor, Tensor]:
    """Logits and masks ``[2, 3, 8, 8]``, likewise."""
    masks = torch.randint(0, 2, (2, 3, 8, 8)).float()
    masks[:, :, :4] = IGNORE
    return torch.randn(2, 3, 8, 8), masks


AVERAGES_OVER_IGNORED: dict[str, tuple[Loss, Callable[[], tuple[Tensor, Tensor]]]] = {
    "smp.SoftCrossEntropyLoss": (
        smp.losses.SoftCrossEntropyLoss(ignore_index=IGNORE, smooth_factor=0.0),
        label_maps,
    ),
    "smp.SoftBCEWithLogitsLoss": (smp.losses.SoftBCEWithLogitsLoss(ignore_index=IGNORE), masks),
    "kornia.FocalLoss": (
        kornia.losses.FocalLoss(alpha=None, reduction="mean", ignore_index=IGNORE),
        label_maps,
    ),
    "kornia.BinaryFocalLossWithLogits": (
        kornia.losses.BinaryFocalLossWithLogits(alpha=0.5, reduction="mean", ignore_index=IGNORE),
        masks,
    ),
}


@pytest.mark.parametrize("name", AVERAGES_OVER_IGNORED)
def test_the_mean_counts_ignored_pixels(name: str) -> None:
    """Half of them ignored: half of the loss of the labelled half."""
    loss, make = AVERAGES_OVER_IGNORED[name]
    logits, target = make()
    labelled = loss(logits[:, :, 4:], target[..., 4:, :])
    torch.testing.assert_close(loss(logits, target), labelled / 2)


def test_these_leave_ignored_pixels_out_of_the_mean() -> None:
    logits, labels = label_maps()
    for loss in (
        smp.losses.DiceLoss("multiclass", ignore_index=IGNORE),
        smp.losses.FocalLoss("multiclass", ignore_index=IGNORE),
        nn.CrossEntropyLoss(ignore_index=IGNORE),
    ):
        torch.testing.assert_close(loss(logits, labels), loss(logits[:, :, 4:], labels[:, 4:]))


@pytest.mark.parametrize("make", [smp.losses.DiceLoss, smp.losses.JaccardLoss])
def test_smps_overlap_losses_have_no_gradient_without_foreground(make: Any) -> None:
    logits = torch.randn(2, 1, 8, 8).requires_grad_()
    background = torch.zeros(2, 1, 8, 8)
    for loss in (make("binary"), SCNPLoss(make("binary"))):
        value = loss(logits, background)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value == 0
        assert gradient.eq(0).all()


@pytest.mark.parametrize(("length", "pieces"), [(101, 1), (102, 2), (300, 200)])
def test_kornias_connected_components_split_long_lines(length: int, pieces: int) -> None:
    image = torch.zeros(1, 1, 8, 400)
    image[..., 4, 10 : 10 + length] = 1
    labels = kornia.contrib.connected_components(image)
    assert len(labels.unique()) - 1 == pieces
    enough = kornia.contrib.connected_components(image, num_iterations=length)
    assert len(enough.unique()) - 1 == 1
