"""The nnU-Net trainers' loss against nnU-Net's own losses on the paper's listing."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import (
    DC_and_BCE_loss,
    DC_and_CE_loss,
    DC_and_topk_loss,
)
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from torch import Tensor

from scnp_kernels.integrations.nnunet import TRAINERS
from scnp_kernels.integrations.nnunet.fused import CannotFuseError, FusedOutputs
from scnp_kernels.integrations.nnunet.losses import PaperDiceCELoss, PenalizedOutputs
from scnp_kernels.integrations.nnunet.training import PenalizedTraining, name_for_prediction
from scnp_kernels.integrations.nnunet.variants import variant_from_variables
from scnp_kernels.integrations.nnunet.windows import windows_per_scale
from tests.integrations.expected import loss_and_gradient, one_hot_of, penalized
from tests.official import softmax_dice_ce

NAMES = (
    "nnUNetTrainerSCNP",
    "nnUNetTrainerSCNPJoint",
    "nnUNetTrainerSCNPPaper",
    "nnUNetTrainerSCNPFused",
)
CLASSES, IGNORED = 3, 3
SHAPES = [(2, 16, 12), (2, 8, 6), (2, 4, 3)]  # [b, H, W] per scale
WINDOWS = [(5, 5), (3, 3), (3, 3)]
WEIGHTS = (0.6, 0.4, 0.0)
DICE = {"batch_dice": False, "smooth": 1e-5, "ddp": False}


def labels_loss(ignore_label: int | None) -> Any:
    """As nnU-Net's trainer builds it for plain labels."""
    dice = {**DICE, "do_bg": False}
    loss = DC_and_CE_loss(
        dice, {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss
    )
    return DeepSupervisionWrapper(loss, WEIGHTS)


def regions_loss(ignored: bool) -> Any:
    """As nnU-Net's trainer builds it for regions."""
    dice = {**DICE, "do_bg": True}
    loss = DC_and_BCE_loss(
        {}, dice, use_ignore_label=ignored, dice_class=MemoryEfficientSoftDiceLoss
    )
    return DeepSupervisionWrapper(loss, WEIGHTS)


def outputs() -> list[Tensor]:
    """Logits per scale, [b, C, H, W]."""
    return [torch.randn(b, CLASSES, *s).requires_grad_() for b, *s in SHAPES]


def label_targets(ignored: bool) -> list[Tensor]:
    """[b, 1, H, W] int16, as nnU-Net's data loader makes them."""
    highest = IGNORED + 1 if ignored else CLASSES
    return [torch.randint(0, highest, (b, 1, *s), dtype=torch.int16) for b, *s in SHAPES]


def region_targets(ignored: bool) -> list[Tensor]:
    """[b, C, H, W] bool, and the channel of ignored voxels behind it."""
    channels = CLASSES + 1 if ignored else CLASSES
    return [torch.rand(b, channels, *s) < 0.4 for b, *s in SHAPES]


@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
@pytest.mark.parametrize("ignored", [False, True])
def test_labels(ignored: bool, plain_weight: float) -> None:
    ignore_label = IGNORED if ignored else None
    plain = labels_loss(ignore_label)
    logits, targets = outputs(), label_targets(ignored)
    actual = PenalizedOutputs(plain, WINDOWS, ignore_label=ignore_label, plain_weight=plain_weight)(
        logits, targets
    )
    worst = [
        penalized(z, one_hot_of(t[:, 0], CLASSES), window, t < CLASSES)
        for z, t, window in zip(logits, targets, WINDOWS, strict=True)
    ]
    expected = plain(worst, targets) + plain_weight * plain(logits, targets)
    value, *gradients = loss_and_gradient(actual, logits)
    torch.testing.assert_close((value, *gradients), loss_and_gradient(expected, logits))
    check_gradient_at_ignored(gradients, [t == IGNORED for t in targets], ignored)


@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
@pytest.mark.parametrize("ignored", [False, True])
def test_regions(ignored: bool, plain_weight: float) -> None:
    plain = regions_loss(ignored)
    logits, targets = outputs(), region_targets(ignored)
    actual = PenalizedOutputs(
        plain,
        WINDOWS,
        ignore_label=IGNORED if ignored else None,
        regions=True,
        plain_weight=plain_weight,
    )(logits, targets)
    worst = [
        penalized(z, t[:, :CLASSES], window, ~t[:, -1:] if ignored else None)
        for z, t, window in zip(logits, targets, WINDOWS, strict=True)
    ]
    expected = plain(worst, targets) + plain_weight * plain(logits, targets)
    value, *gradients = loss_and_gradient(actual, logits)
    torch.testing.assert_close((value, *gradients), loss_and_gradient(expected, logits))
    check_gradient_at_ignored(gradients, [t[:, -1:] for t in targets], ignored)


def check_gradient_at_ignored(
    gradients: list[Tensor], ignored_pixels: list[Tensor], ignored: bool
) -> None:
    """Exactly zero there, and somewhere else not; the scale of weight 0 has none at all."""
    for gradient, where, weight in zip(gradients, ignored_pixels, WEIGHTS, strict=True):
        if ignored:
            assert where.any()
            assert gradient[where.expand_as(gradient)].eq(0).all()
        assert gradient.ne(0).any() == (weight != 0)


def test_without_deep_supervision() -> None:
    (logits, *_), (target, *_) = outputs(), label_targets(ignored=True)
    plain = labels_loss(IGNORED).loss
    actual = PenalizedOutputs(plain, [(3, 3)], ignore_label=IGNORED)(logits, target)
    worst = penalized(logits, one_hot_of(target[:, 0], CLASSES), 3, target < CLASSES)
    torch.testing.assert_close(actual, plain(worst, target))


def test_validation_is_unpenalised() -> None:
    plain = labels_loss(None)
    logits, targets = outputs(), label_targets(ignored=False)
    loss = PenalizedOutputs(plain, WINDOWS, plain_weight=1.0)
    assert loss(logits, targets) > plain(logits, targets)
    assert loss.eval()(logits, targets) == plain(logits, targets)


def test_everything_ignored_has_no_gradient() -> None:
    logits = outputs()
    targets = [torch.full_like(t, IGNORED) for t in label_targets(ignored=True)]
    loss = PenalizedOutputs(labels_loss(IGNORED), WINDOWS, ignore_label=IGNORED)(logits, targets)
    for gradient in torch.autograd.grad(loss, logits, materialize_grads=True):
        assert gradient.eq(0).all()


@pytest.mark.parametrize("batch", [1, 2, 12])
@pytest.mark.parametrize(
    ("spacing", "kernel_size"), [([1.0, 1.0], 3), ([5.0, 1.0, 1.0], 3), ([5.0, 1.0, 1.0], 5)]
)
@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_the_papers_trainer_is_the_papers_code(
    make: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    spacing: list[float],
    kernel_size: int,
    plain_weight: float,
) -> None:
    """Value, but for the constant 1, and gradient; with thick slices too, which it disregards."""
    monkeypatch.setenv("SCNP_KERNEL_SIZE", str(kernel_size))
    monkeypatch.setenv("SCNP_PLAIN_WEIGHT", str(plain_weight))
    loss = make("nnUNetTrainerSCNPPaper", PLAIN, spacing)._build_loss()
    logits, targets = [], []
    for size in (8, 4, 2):
        shape = [size] * len(spacing)
        logits.append(torch.randn(batch, CLASSES, *shape, dtype=torch.float64))
        # Thin lines: another number of them in every image, so that images weigh unequally.
        labels = torch.zeros(batch, 1, *shape, dtype=torch.int16)
        for image in range(batch):
            labels[image, ..., : size * (image % 3) // 2 : 2] = 1 + image % 2
        targets.append(labels)
    for z in logits:
        z.requires_grad_()
    actual = loss(logits, targets)
    expected = torch.zeros((), dtype=torch.float64)
    for weight, z, y in zip((2 / 3, 1 / 3), logits[:2], targets[:2], strict=True):
        expected = expected + weight * (softmax_dice_ce(z, y, kernel_size) + 1)
        expected = expected + weight * plain_weight * (softmax_dice_ce(z, y, None) + 1)
    torch.testing.assert_close(
        loss_and_gradient(actual, logits),
        loss_and_gradient(expected, logits),
        rtol=1e-9,
        atol=1e-12,
    )
    # Validation is on plain outputs.
    plain = sum(
        weight * (softmax_dice_ce(z, y, None) + 1)
        for weight, z, y in zip((2 / 3, 1 / 3), logits[:2], targets[:2], strict=True)
    )
    torch.testing.assert_close(loss.eval()(logits, targets), plain)


def test_paper_loss_without_ignored_pixels() -> None:
    """Against the formulas in numpy, image by image, with ignored pixels taken out beforehand."""
    logits, target = torch.randn(2, CLASSES, 6, 5), torch.randint(0, IGNORED + 1, (2, 1, 6, 5))
    cross_entropies, dices = [], []
    for z, y in zip(logits.double().numpy(), target[:, 0].numpy(), strict=True):
        values = np.moveaxis(z, 0, -1)[y != IGNORED]  # [P, C]
        probabilities = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        wanted = np.eye(CLASSES)[y[y != IGNORED]]
        cross_entropies.extend(-np.log((probabilities * wanted).sum(1)))
        twice = 2 * (probabilities * wanted).sum(0) + 1e-5
        dices.extend(twice / (probabilities.sum(0) + wanted.sum(0) + 1e-5))
    expected = np.mean(cross_entropies) + 1 - np.mean(dices)
    actual = PaperDiceCELoss(IGNORED)(logits, target)
    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_paper_loss_where_everything_is_ignored() -> None:
    logits = torch.randn(2, CLASSES, 6, 5).requires_grad_()
    loss = PaperDiceCELoss(IGNORED)(logits, torch.full((2, 1, 6, 5), IGNORED))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.eq(0).all()


def test_windows_follow_the_spacing_of_every_scale() -> None:
    scales = [(1.0, 1.0, 1.0), (1.0, 0.5, 0.5), (0.5, 0.25, 0.25)]
    assert windows_per_scale(5, None, (5, 1, 1), scales) == ((1, 5, 5), (5, 5, 5), (5, 5, 5))
    assert windows_per_scale(3, None, (1, 1), None) == ((3, 3),)
    assert windows_per_scale((1, 3, 5), None, (1, 1, 1), scales) == ((1, 3, 5),) * 3
    assert windows_per_scale(5, None, (5, 1, 1), scales, follow_spacing=False) == ((5, 5, 5),) * 3
    assert windows_per_scale(3, [7, (3, 1, 1), 5], (8, 1, 1), scales) == (
        (1, 7, 7),
        (3, 1, 1),
        (1, 5, 5),
    )


@pytest.mark.parametrize(
    ("kernel_size", "per_scale", "message"),
    [
        (4, None, "kernel_size: got 4"),
        ((3, 3), None, "kernel_size: got 2 values"),
        (3, [3, 3], "SCNP_KERNEL_SIZE_PER_SCALE: got 2 windows"),
    ],
)
def test_bad_windows(kernel_size: Any, per_scale: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        windows_per_scale(kernel_size, per_scale, (1, 1, 1), [[1, 1, 1]])


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """nnU-Net's own search, with the variable set to our folder."""
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    found: Callable[[str], Any] = recursive_find_trainer_class_by_name
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nnunet_finds_the_trainers(find: Callable[[str], Any], name: str) -> None:
    trainer = find(name)
    assert trainer.__name__ == name
    assert inspect.signature(trainer.__init__) == inspect.signature(nnUNetTrainer.__init__)


@pytest.fixture
def make(
    find: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Makes a trainer from a plan, as ``nnUNetv2_train`` does, as far as the loss."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path))

    def make_trainer(name: str, labels: dict[str, Any], spacing: list[float]) -> Any:
        axes = len(spacing)
        strides = [[1] * axes, [1] * (axes - 2) + [2, 2], [2] * axes, [2] * axes]
        configuration = {
            "spacing": spacing,
            "patch_size": [16] * axes,
            "batch_size": 2,
            "batch_dice": True,
            "data_identifier": "none",
            "architecture": {
                "network_class_name": "none",
                "arch_kwargs": {"strides": strides},
                "_kw_requires_import": [],
            },
        }
        plans = {
            "continue_training": False,
            "dataset_name": "Dataset900_none",
            "plans_name": "nnUNetPlans",
            "label_manager": "LabelManager",
            "configurations": {"any": configuration},
        }
        regions = {"regions_class_order": [1, 2]} if _has_regions(labels) else {}
        dataset = {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".tif", **regions}
        return find(name)(plans, "any", 0, dataset, torch.device("cpu"))

    return make_trainer


def _has_regions(labels: dict[str, Any]) -> bool:
    return any(isinstance(value, list) for value in labels.values())


PLAIN = {"background": 0, "wall": 1, "lumen": 2}
REGIONS = {"background": 0, "vessel": [1, 2], "lumen": 2, "ignore": 3}


def test_trainers_build_their_losses(make: Callable[..., Any]) -> None:
    loss = make("nnUNetTrainerSCNP", {**PLAIN, "ignore": 3}, [4.0, 1.0, 1.0])._build_loss()
    assert isinstance(loss.loss, DeepSupervisionWrapper)
    assert loss.windows == ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert (loss.ignore_label, loss.regions, loss.plain_weight) == (3, False, 0)
    assert loss.used == (True, True, False)

    loss = make("nnUNetTrainerSCNPJoint", REGIONS, [1.0, 1.0])._build_loss()
    assert loss.windows == ((3, 3),) * 3
    assert (loss.ignore_label, loss.regions, loss.plain_weight) == (3, True, 1)

    loss = make("nnUNetTrainerSCNPPaper", {**PLAIN, "ignore": 3}, [4.0, 1.0, 1.0])._build_loss()
    assert isinstance(loss.loss.loss, PaperDiceCELoss)
    assert loss.loss.weight_factors == pytest.approx((2 / 3, 1 / 3, 0))
    assert loss.windows == ((3, 3, 3),) * 3
    assert loss.loss.loss.options.ignore_index == 3
    assert {scale.options.ignore_index for scale in loss.of_scales} == {3}


@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("regions", [False, True])
def test_fused(regions: bool, ignored: bool, plain_weight: float) -> None:
    """Value, gradient and validation of the wrapped loss."""
    ignore_label = IGNORED if ignored else None
    plain = regions_loss(ignored) if regions else labels_loss(ignore_label)
    targets = region_targets(ignored) if regions else label_targets(ignored)
    logits = outputs()
    wrapped = PenalizedOutputs(
        plain, WINDOWS, ignore_label=ignore_label, regions=regions, plain_weight=plain_weight
    )
    fused = FusedOutputs(plain, WINDOWS, channels=CLASSES, plain_weight=plain_weight)
    value, *gradients = loss_and_gradient(fused(logits, targets), logits)
    torch.testing.assert_close(
        (value, *gradients), loss_and_gradient(wrapped(logits, targets), logits)
    )
    where = [t[:, -1:] if regions else t == IGNORED for t in targets]
    check_gradient_at_ignored(gradients, where, ignored)
    assert fused.eval()(logits, targets) == plain(logits, targets)


def test_fused_where_everything_is_ignored() -> None:
    logits = outputs()
    targets = [torch.full_like(t, IGNORED) for t in label_targets(ignored=True)]
    loss = FusedOutputs(labels_loss(IGNORED), WINDOWS, channels=CLASSES)(logits, targets)
    assert loss.isfinite()
    for gradient in torch.autograd.grad(loss, logits, materialize_grads=True):
        assert gradient.eq(0).all()


def test_the_fused_trainer_says_when_it_wraps(
    make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make("nnUNetTrainerSCNPFused", PLAIN, [1.0, 1.0])
    assert isinstance(trainer._build_loss(), FusedOutputs)

    def with_top_k() -> Any:
        return DC_and_topk_loss({**DICE, "do_bg": False}, {})

    trainer._loss_to_penalize = with_top_k
    trainer.enable_deep_supervision = False
    assert isinstance(trainer._build_loss(), PenalizedOutputs)
    said = "the fused loss cannot be used: nnU-Net built a DC_and_topk_loss"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda loss: setattr(loss.ce, "label_smoothing", 0.1), "smooths labels"),
        (lambda loss: setattr(loss.dc, "apply_nonlin", torch.sigmoid), "another activation"),
        (lambda loss: setattr(loss, "ce", torch.nn.CrossEntropyLoss()), "CrossEntropyLoss, not"),
    ],
)
def test_what_cannot_be_fused(spoil: Callable[[Any], Any], reason: str) -> None:
    loss = labels_loss(None)
    spoil(loss.loss)
    with pytest.raises(CannotFuseError, match=reason):
        FusedOutputs(loss, WINDOWS, channels=CLASSES)


def test_the_papers_loss_refuses_regions(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="nnUNetTrainerSCNPPaper: got a data set with overlapping"):
        make("nnUNetTrainerSCNPPaper", REGIONS, [1.0, 1.0])._build_loss()


OPTIONS = {  # variables, and what they make of nnUNetTrainerSCNP in a plan of 4 x 1 x 1 mm
    "_w5": ({"SCNP_KERNEL_SIZE": "5"}, ((1, 5, 5), (5, 5, 5), (5, 5, 5)), 0.0),
    "_w3x5x7": ({"SCNP_KERNEL_SIZE": " 3,5,7 "}, ((3, 5, 7),) * 3, 0.0),
    "_w7-1x3x3-3": (
        {"SCNP_KERNEL_SIZE_PER_SCALE": "7; 1,3,3; 3", "SCNP_KERNEL_SIZE": "9"},
        ((1, 7, 7), (1, 3, 3), (3, 3, 3)),
        0.0,
    ),
    "_plain0.25": ({"SCNP_PLAIN_WEIGHT": ".25"}, ((1, 3, 3), (3, 3, 3), (3, 3, 3)), 0.25),
    "_w5_plain1": (
        {"SCNP_KERNEL_SIZE": "5", "SCNP_PLAIN_WEIGHT": "1"},
        ((1, 5, 5), (5, 5, 5), (5, 5, 5)),
        1.0,
    ),
    "": (
        {"SCNP_KERNEL_SIZE": "3", "SCNP_PLAIN_WEIGHT": "0"},
        ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        0.0,
    ),
}


@pytest.mark.parametrize("suffix", OPTIONS)
def test_options_are_in_the_trainers_name_and_folder(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Whether they come by variable or by name."""
    variables, windows, plain_weight = OPTIONS[suffix]
    by_name = make(f"nnUNetTrainerSCNP{suffix}", PLAIN, [4.0, 1.0, 1.0])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    by_variable = make("nnUNetTrainerSCNP", PLAIN, [4.0, 1.0, 1.0])
    both = make(f"nnUNetTrainerSCNP{suffix}", PLAIN, [4.0, 1.0, 1.0])
    for trainer in (by_name, by_variable, both):
        assert type(trainer).__name__ == f"nnUNetTrainerSCNP{suffix}"
        folder = Path(trainer.output_folder).parent.name
        assert folder == f"nnUNetTrainerSCNP{suffix}__nnUNetPlans__any"
        loss = trainer._build_loss()
        assert (loss.windows, loss.plain_weight) == (windows, plain_weight)


def test_options_of_every_trainer(make: Callable[..., Any]) -> None:
    for name in NAMES:
        loss = make(f"{name}_w5_plain0.5", PLAIN, [1.0, 1.0])._build_loss()
        assert (loss.windows, loss.plain_weight) == (((5, 5),) * 3, 0.5)


def test_a_window_for_all_outputs_replaces_a_trainers_own_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Trainer:
        SCNP_KERNEL_SIZE, SCNP_KERNEL_SIZE_PER_SCALE, SCNP_PLAIN_WEIGHT = 3, (5, 3, 3), 0.0

    assert variant_from_variables(Trainer) is Trainer
    monkeypatch.setenv("SCNP_KERNEL_SIZE", "3")  # also where it is that of the class
    variant = variant_from_variables(Trainer)
    assert variant.__name__ == "Trainer_w3"
    assert (variant.SCNP_KERNEL_SIZE, variant.SCNP_KERNEL_SIZE_PER_SCALE) == (3, None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SCNP_KERNEL_SIZE", "three"),
        ("SCNP_KERNEL_SIZE", "4"),
        ("SCNP_KERNEL_SIZE", "-3"),
        ("SCNP_KERNEL_SIZE_PER_SCALE", "3;4;3"),
        ("SCNP_KERNEL_SIZE_PER_SCALE", "3;;3"),
        ("SCNP_PLAIN_WEIGHT", "much"),
        ("SCNP_PLAIN_WEIGHT", "-1"),
        ("SCNP_PLAIN_WEIGHT", "nan"),
    ],
)
def test_bad_variables(
    make: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    value: str,
) -> None:
    """They are found before any folder is made."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=rf"{variable}: got '.*', takes"):
        make("nnUNetTrainerSCNP", PLAIN, [1.0, 1.0])
    assert not list(tmp_path.iterdir())


def test_one_window_for_every_output(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCNP_KERNEL_SIZE_PER_SCALE", "3;3")
    with pytest.raises(ValueError, match="SCNP_KERNEL_SIZE_PER_SCALE: got 2 windows"):
        make("nnUNetTrainerSCNP", PLAIN, [1.0, 1.0])._build_loss()


def test_a_variable_that_contradicts_the_trainers_name(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCNP_KERNEL_SIZE", "7")
    with pytest.raises(ValueError, match=r"SCNP_KERNEL_SIZE: got '7' with .* nnUNetTrainerSCNP_w5"):
        make("nnUNetTrainerSCNP_w5", PLAIN, [1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nnUNetTrainerSCNP_w4", ValueError),
        ("nnUNetTrainerSCNP_w3-", ValueError),
        ("nnUNetTrainerSCNP_plain-1", ValueError),
        ("nnUNetTrainerSCNP_large", RuntimeError),  # nnU-Net's: no such trainer
        ("nnUNetTrainerTopk10Loss_w5", RuntimeError),
    ],
)
def test_bad_names(find: Callable[[str], Any], name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        find(name)


def test_the_trainer_named_in_checkpoints_builds_the_same_network() -> None:
    class Plain:
        def run_training(self) -> None: ...

        @staticmethod
        def build_network_architecture() -> str:
            return "plain"

    class Recipe:  # sits in front of a trainer, as PenalizedTraining does, and is none itself
        SOMETHING = 1

    class Wrapping(PenalizedTraining, Recipe, Plain): ...

    class OfItsOwn(Wrapping):
        @staticmethod
        def build_network_architecture() -> str:
            return "another"

    class OtherNetwork:
        @staticmethod
        def build_network_architecture() -> str:
            return "a recipe's"

    class WithARecipesNetwork(PenalizedTraining, OtherNetwork, Plain): ...

    assert name_for_prediction(Wrapping) == "Plain"
    assert name_for_prediction(OfItsOwn) == "OfItsOwn"
    assert name_for_prediction(WithARecipesNetwork) == "WithARecipesNetwork"


def test_the_module_copies_the_trainers_for_an_older_nnunet(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "scnp_kernels.integrations.nnunet"]
    subprocess.run([*module, "--copy", str(tmp_path)], check=True)
    (copy,) = tmp_path.iterdir()
    assert copy.read_bytes() == (TRAINERS / copy.name).read_bytes()

    result = subprocess.run([*module, "--copy"], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "reads nnUNet_extTrainer" in result.stderr


def test_the_folder_holds_only_trainers() -> None:
    assert {file.name for file in TRAINERS.glob("*.py")} == {"__init__.py", "nnUNetTrainerSCNP.py"}


def test_the_printed_line_keeps_other_folders() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "scnp_kernels.integrations.nnunet"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for before, after in (("", f"{TRAINERS}"), ("/other", f"{TRAINERS}{os.pathsep}/other")):
        result = subprocess.run(
            ["sh", "-c", f'{printed}\nprintf %s "$nnUNet_extTrainer"'],
            env={"nnUNet_extTrainer": before},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout == after


@pytest.mark.parametrize("fused", [False, True])
def test_weights_change_from_epoch_to_epoch_and_terms_are_kept(fused: bool) -> None:
    """As in a warm-up; what is logged are the losses' means over the steps of an epoch."""
    plain = labels_loss(IGNORED)
    logits, targets = outputs(), label_targets(ignored=True)
    loss: Any = PenalizedOutputs(plain, WINDOWS, ignore_label=IGNORED)
    if fused:
        loss = FusedOutputs(plain, WINDOWS, channels=CLASSES)
    worst = [
        penalized(z, one_hot_of(t[:, 0], CLASSES), window, t < CLASSES)
        for z, t, window in zip(logits, targets, WINDOWS, strict=True)
    ]
    of_worst, of_plain = plain(worst, targets), plain(logits, targets)
    for ramp in (0.0, 0.25, 1.0):
        loss.scnp_weight, loss.plain_weight = ramp, 1 - ramp
        worst = [
            penalized(z, one_hot_of(t[:, 0], CLASSES), window, t < CLASSES)
            for z, t, window in zip(logits, targets, WINDOWS, strict=True)
        ]
        expected = ramp * plain(worst, targets) + (1 - ramp) * plain(logits, targets)
        actual = loss_and_gradient(loss(logits, targets), logits)
        for one, other in zip(actual, loss_and_gradient(expected, logits), strict=True):
            torch.testing.assert_close(one, other)
    loss.terms.take()
    loss.scnp_weight, loss.plain_weight = 0.5, 0.5
    loss(logits, targets)
    means = loss.terms.take()
    if fused:
        assert set(means) == {"scnp_ce", "scnp_dice", "plain_ce", "plain_dice"}
        # nnU-Net's Dice term is the fused one's less 1, at every scale that counts.
        of_both = means["scnp_ce"] + means["scnp_dice"] - sum(WEIGHTS)
        assert of_both == pytest.approx(of_worst.item(), rel=1e-5)
    else:
        assert means["scnp"] == pytest.approx(of_worst.item(), rel=1e-5)
        assert means["plain"] == pytest.approx(of_plain.item(), rel=1e-5)
    assert loss.terms.take() == {}
    loss.scnp_weight = loss.plain_weight = 0
    with pytest.raises(ValueError, match="scnp_weight, plain_weight: got 0 and 0"):
        loss(logits, targets)


def test_an_epoch_logs_its_terms(make: Callable[..., Any]) -> None:
    trainer = make("nnUNetTrainerSCNPFused", PLAIN, [1.0, 1.0])
    logged: list[str] = []
    others: list[tuple[str, float, int]] = []
    trainer.print_to_log_file = lambda *text, **_: logged.append(" ".join(map(str, text)))
    trainer.logger = type(
        "Logger",
        (),
        {
            "log": lambda *_: None,
            "loggers": [type("Other", (), {"log": lambda _, *entry: others.append(entry)})()],
        },
    )()
    trainer.loss = trainer._build_loss()
    trainer.loss.terms.add({"scnp_ce": torch.tensor(1.0)})
    trainer.loss.terms.add({"scnp_ce": torch.tensor(2.0)})
    trainer.on_train_epoch_end([{"loss": 1.5}])
    assert "SCNP: scnp_ce 1.5000" in logged
    assert others == [("train/scnp_ce", 1.5, trainer.current_epoch)]
