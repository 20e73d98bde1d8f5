"""Promise: docs/migrating.md says which loss equals that of the paper's own code, and what differs.

The code's losses stand in ``tests/official.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scnp_kernels import SCNPDiceCELoss, SCNPLoss
from scnp_kernels.integrations.detectron2 import semantic_head_loss
from scnp_kernels.integrations.instanseg import dice_and_cross_entropy
from scnp_kernels.integrations.nnunet.losses import PaperDiceCELoss
from tests.official import sigmoid_dice_ce, softmax_dice_ce

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
CONSTANT = 1  # theirs counts -Dice, ours 1 - Dice


def value_and_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def images_of_lines(batch: int, size: int = 64) -> tuple[Tensor, Tensor]:
    """Logits ``[b, 2, H, W]`` and labels ``[b, 1, H, W]``: 1, 7 or 13 thin lines per image."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(batch, 1, size, size, dtype=torch.long)
    for image in range(batch):
        labels[image, :, 5 : 6 + 24 * (image % 3) : 4] = 1
    logits = torch.randn(batch, 2, size, size, generator=generator)
    logits[:, 1] += labels[:, 0] * 6.0 - 3
    return logits, labels


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("batch", [1, 2, 12])
def test_nnunet(batch: int, kernel_size: int) -> None:
    """Every batch size, value and gradient."""
    logits, labels = images_of_lines(batch)
    theirs = value_and_gradient(
        lambda z: softmax_dice_ce(z, labels, kernel_size) + CONSTANT, logits.double()
    )
    for ours in (SCNPDiceCELoss(kernel_size), SCNPLoss(PaperDiceCELoss(), kernel_size)):
        torch.testing.assert_close(
            value_and_gradient(lambda z: ours(z, labels), logits.double()),  # noqa: B023
            theirs,
            rtol=1e-9,
            atol=1e-12,
        )


def test_nnunet_jointly() -> None:
    logits, labels = images_of_lines(3)
    torch.testing.assert_close(
        value_and_gradient(lambda z: SCNPDiceCELoss(plain_weight=1.0)(z, labels), logits.double()),
        value_and_gradient(
            lambda z: softmax_dice_ce(z, labels) + softmax_dice_ce(z, labels, None) + 2 * CONSTANT,
            logits.double(),
        ),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 12])
def test_nnunets_own_loss_is_another(batch: int, batch_dice: bool) -> None:
    """What nnUNetTrainerSCNP keeps: no background, in 2D plans summed over the batch."""
    logits, labels = images_of_lines(batch)
    own = SCNPDiceCELoss(include_background=False, batch_dice=batch_dice)
    _, gradient = value_and_gradient(lambda z: own(z, labels), logits)
    _, theirs = value_and_gradient(lambda z: softmax_dice_ce(z, labels), logits)
    apart = 100 * ((gradient - theirs).norm() / theirs.norm()).item()
    low, high = map(int, re.findall(r"(\d+) to (\d+) % of\s+the gradient", PAGE.read_text())[0])
    assert low <= round(apart) <= high


def test_detectron2() -> None:
    logits, labels = images_of_lines(2)
    coarse = F.avg_pool2d(logits, 4).double()  # as the head predicts, at a stride
    loss = SCNPDiceCELoss(scnp_weight=0.0, plain_weight=1.0, ignore_index=255)

    def upsampled(z: Tensor) -> Tensor:
        return F.interpolate(z, scale_factor=4, mode="bilinear", align_corners=False)

    torch.testing.assert_close(
        value_and_gradient(lambda z: semantic_head_loss(z, labels[:, 0], loss=loss), coarse),
        value_and_gradient(
            lambda z: softmax_dice_ce(upsampled(z), labels).float() + CONSTANT, coarse
        ),
    )


def test_instanseg() -> None:
    logits, labels = images_of_lines(3)
    masks = labels[:, 0].float()  # [N, H, W]
    torch.testing.assert_close(
        value_and_gradient(
            lambda z: SCNPLoss(dice_and_cross_entropy)(z, masks), logits[:, 1:].contiguous()
        ),
        value_and_gradient(lambda z: sigmoid_dice_ce(z, masks) + CONSTANT, logits[:, 1:]),
    )


def _at_a_confident_mistake(difference: float) -> tuple[Tensor, Tensor]:
    """Two logits that far apart, the wrong one larger, at a single pixel of class 0."""
    return torch.tensor([0.0, difference]).view(1, 2, 1, 1), torch.zeros(1, 1, 1, 1).long()


def test_their_softmax_saturates_at_35() -> None:
    """At a pixel that is 40 logits wrong theirs learns nothing any more; ours as ever."""
    for difference, learns in ((30.0, True), (40.0, False)):
        logits, labels = _at_a_confident_mistake(difference)
        ours = SCNPDiceCELoss(dice_weight=0.0)
        value, gradient = value_and_gradient(lambda z: ours(z, labels), logits)  # noqa: B023
        assert value == pytest.approx(difference)
        assert gradient.abs().max() == pytest.approx(1)
        _, theirs = value_and_gradient(lambda z: softmax_dice_ce(z, labels), logits)  # noqa: B023
        assert (theirs.abs().max() > 0.9) == learns
        assert (theirs.abs().max() > 0.01) == learns


def test_their_sigmoid_saturates_at_17() -> None:
    """In float32 1 - p is 0 there, and its logarithm jumps to that of 1e-15."""
    background = torch.zeros(1, 1, 1)
    for logit, learns in ((15.0, True), (18.0, False)):
        logits = torch.full((1, 1, 1, 1), logit)
        value, gradient = value_and_gradient(
            lambda z: SCNPLoss(dice_and_cross_entropy)(z, background), logits
        )
        assert value == pytest.approx(logit + 1, abs=1e-4)  # 1 of Dice
        assert gradient.item() == pytest.approx(1, abs=1e-3)
        value, gradient = value_and_gradient(lambda z: sigmoid_dice_ce(z, background), logits)
        assert (gradient.item() > 0.5) == learns
        assert (gradient.item() > 0) == learns
        assert (value.item() > -math.log(1.1e-15)) == (not learns)


def test_their_3d_class_cannot_be_called() -> None:
    """It pads two axes of three."""
    with pytest.raises(RuntimeError, match="pad"):
        F.max_pool3d(torch.zeros(1, 1, 4, 4, 4), (3, 3, 3), (1, 1, 1), (1, 1))
