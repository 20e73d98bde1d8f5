"""The semantic head's loss on outputs of torchvision's DeepLabV3, and the recipe that calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large
from torchvision.models.segmentation.deeplabv3 import DeepLabV3

from scnp_kernels.integrations.detectron2 import semantic_head_loss
from tests.integrations.expected import loss_and_gradient, one_hot_of, penalized
from tests.integrations.recipes import run_recipe
from tests.official import softmax_dice_ce

CLASSES, IGNORE, STRIDE = 4, 255, 16


@pytest.fixture
def network() -> DeepLabV3:
    network: DeepLabV3 = deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES
    )
    return network.eval()


@pytest.fixture
def predictions(network: DeepLabV3) -> Tensor:
    """What the head gives before upsampling: [2, C, 6, 8]."""
    with torch.no_grad():
        features = network.backbone(torch.randn(2, 3, 96, 128))["out"]
        output: Tensor = network.classifier(features)
    assert output.shape == (2, CLASSES, 96 // STRIDE, 128 // STRIDE)
    return output.requires_grad_()


@pytest.fixture
def targets() -> Tensor:
    """Two images of different sizes in one batch, padded as Detectron2 does: [2, 96, 128]."""
    targets = torch.full((2, 96, 128), IGNORE)
    blocks = torch.randint(0, CLASSES, (2, 6, 8))
    labels = blocks.repeat_interleave(STRIDE, 1).repeat_interleave(STRIDE, 2)
    targets[0] = labels[0]
    targets[1, :64, :96] = labels[1, :64, :96]
    return targets


def expected_loss(predictions: Tensor, targets: Tensor, plain_weight: float) -> Tensor:
    """As Detectron2's heads compute it, on the listing."""
    logits = F.interpolate(
        predictions.float(), scale_factor=STRIDE, mode="bilinear", align_corners=False
    )
    valid = (targets != IGNORE)[:, None]
    worst = penalized(logits, one_hot_of(targets, CLASSES), 3, valid)
    cross_entropy = nn.CrossEntropyLoss(reduction="mean", ignore_index=IGNORE)
    loss: Tensor = cross_entropy(worst, targets)
    return loss + plain_weight * cross_entropy(logits, targets) if plain_weight else loss


@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_value_and_gradient(predictions: Tensor, targets: Tensor, plain_weight: float) -> None:
    actual = semantic_head_loss(predictions, targets, plain_weight=plain_weight)
    torch.testing.assert_close(
        loss_and_gradient(actual, [predictions]),
        loss_and_gradient(expected_loss(predictions, targets, plain_weight), [predictions]),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_upsampled_in_float32(
    predictions: Tensor, targets: Tensor, dtype: torch.dtype
) -> None:
    half = predictions.detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        actual = semantic_head_loss(half, targets)
    assert actual.dtype == torch.float32
    value, gradient = loss_and_gradient(actual, [half])
    expected = loss_and_gradient(expected_loss(half, targets, 0.0), [half])
    torch.testing.assert_close((value, gradient), expected)


def test_padding_takes_no_part(predictions: Tensor, targets: Tensor) -> None:
    """Logits of padded pixels neither count nor receive a gradient."""
    upsampled = F.interpolate(predictions.detach(), targets.shape[1:], mode="bilinear")
    upsampled.requires_grad_()
    loss = semantic_head_loss(upsampled, targets)
    (gradient,) = torch.autograd.grad(loss, upsampled)
    padded = (targets == IGNORE)[:, None].expand_as(gradient)
    assert gradient[padded].eq(0).all()
    assert gradient[~padded].ne(0).any()
    elsewhere = torch.where(padded, 100.0, upsampled)
    assert semantic_head_loss(elsewhere, targets) == loss


def test_nothing_labelled(predictions: Tensor, targets: Tensor) -> None:
    loss = semantic_head_loss(predictions, torch.full_like(targets, IGNORE))
    value, gradient = loss_and_gradient(loss, [predictions])
    assert value == 0
    assert gradient.eq(0).all()


def test_another_loss(predictions: Tensor, targets: Tensor) -> None:
    """Such as hard pixel mining: the mean of the worst fifth."""

    def hardest(logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").flatten()
        return losses.topk(losses.numel() // 5).values.mean()

    actual = semantic_head_loss(predictions, targets, loss=hardest)
    logits = F.interpolate(predictions, scale_factor=STRIDE, mode="bilinear")
    valid = (targets != IGNORE)[:, None]
    worst = penalized(logits, one_hot_of(targets, CLASSES), 3, valid)
    torch.testing.assert_close(
        loss_and_gradient(actual, [predictions]),
        loss_and_gradient(hardest(worst, targets), [predictions]),
    )


def test_training_lowers_the_loss(network: DeepLabV3, targets: Tensor) -> None:
    """The head alone, on fixed features."""
    with torch.no_grad():
        features = network.backbone(torch.randn(2, 3, 96, 128))["out"]
    network.classifier.train()
    optimizer = torch.optim.Adam(network.classifier.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = semantic_head_loss(network.classifier(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


class Head(nn.Module):
    """What the recipe needs of Detectron2's DeepLabV3PlusHead: the attributes of its losses."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.ignore_value, self.common_stride, self.loss_weight = IGNORE, STRIDE, 0.5
        self.loss = nn.CrossEntropyLoss(reduction="mean", ignore_index=IGNORE)

    def forward(self, features: Tensor, targets: Tensor) -> tuple[None, dict[str, Tensor]]:
        return None, self.losses(self.layers(features), targets)

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError


class Registry(dict[str, Any]):
    """Detectron2's registries, as far as the recipe uses one."""

    def register(self) -> Callable[[type], type]:
        def remember(value: type) -> type:
            self[value.__name__] = value
            return value

        return remember


def test_the_recipe_of_the_head(
    network: DeepLabV3, targets: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detectron2 is not on PyPI: a head of the same attributes stands in for its own."""
    modeling, deeplab = ModuleType("detectron2.modeling"), ModuleType("detectron2.projects.deeplab")
    modeling.SEM_SEG_HEADS_REGISTRY = registry = Registry()  # type: ignore[attr-defined]
    deeplab.DeepLabV3PlusHead = Head  # type: ignore[attr-defined]
    for name in ("detectron2", "detectron2.projects"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, modeling.__name__, modeling)
    monkeypatch.setitem(sys.modules, deeplab.__name__, deeplab)
    run_recipe("detectron2_head.py")
    head = registry["SCNPDeepLabV3PlusHead"](network.classifier)

    features = network.backbone(torch.randn(2, 3, 96, 128))["out"]
    _, losses = head(features, targets)
    expected = 0.5 * expected_loss(network.classifier(features), targets, 0.0)
    assert set(losses) == {"loss_sem_seg"}
    torch.testing.assert_close(losses["loss_sem_seg"], expected)

    labelled = targets.where(targets != IGNORE, 0)  # the paper's code knows no ignored pixels
    _, losses = registry["PaperDeepLabV3PlusHead"](network.classifier)(features, labelled)
    logits = F.interpolate(network.classifier(features), scale_factor=STRIDE, mode="bilinear")
    expected = 0.5 * (softmax_dice_ce(logits, labelled[:, None]) + 1)
    torch.testing.assert_close(losses["loss_sem_seg"], expected)
    _, losses = registry["PaperDeepLabV3PlusHead"](network.classifier)(features, targets)
    assert losses["loss_sem_seg"].isfinite()
