"""InstanSeg's losses by name: values on the paper's listing, and its own training for real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from instanseg.utils.loss.instanseg_loss import InstanSeg
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional as F

from scnp_kernels.integrations.instanseg import NAMES, enable
from tests.integrations.expected import loss_and_gradient, penalized


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    before = InstanSeg.update_binary_loss
    enable()
    yield
    InstanSeg.update_binary_loss = before


@pytest.fixture
def logits() -> Tensor:
    """As InstanSeg computes them for the crops of 4 instances."""
    return torch.randn(4, 1, 9, 9).requires_grad_()


@pytest.fixture
def masks() -> Tensor:
    """[4, 9, 9]: float, and not quite 0 and 1."""
    return (torch.rand(4, 9, 9) < 0.4).float() * 0.8 + 0.1


def instanseg(name: str) -> Any:
    return InstanSeg(binary_loss_fn_str=name, device="cpu")


def dice_ce(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy + MONAI's Dice loss, each instance a channel."""
    dice: Tensor = DiceLoss(sigmoid=True)(logits[None, :, 0], masks[None])
    return F.binary_cross_entropy_with_logits(logits[:, 0], masks) + dice


def theirs(name: str, logits: Tensor, masks: Tensor) -> Tensor:
    """InstanSeg's own loss."""
    loss: Tensor = instanseg(name).binary_loss_fn(logits, masks, sigma=None)
    return loss


PLAIN = {
    "scnp_dice_ce": dice_ce,
    "scnp_binary_xloss": lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y),
    "scnp_dice_loss": lambda z, y: theirs("dice_loss", z, y),
    "scnp_dicefocal_loss": lambda z, y: theirs("dicefocal_loss", z, y),
    "scnp_lovasz_hinge": lambda z, y: theirs("lovasz_hinge", z, y),
}


def test_instansegs_dice_has_a_factor() -> None:
    """Of 1.5, where all is wrong, which the paper's loss and scnp_dice_ce have not."""
    wrong, everything = torch.full((2, 1, 8, 8), -20.0), torch.ones(2, 8, 8)
    torch.testing.assert_close(
        theirs("dice_loss", wrong, everything), torch.tensor(1.5), rtol=0, atol=1e-3
    )


def test_every_name_is_tested() -> None:
    assert set(NAMES) == set(PLAIN)


@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
@pytest.mark.parametrize("name", PLAIN)
def test_values_and_gradients(
    name: str, plain_weight: float, logits: Tensor, masks: Tensor
) -> None:
    enable(5, plain_weight=plain_weight)
    actual = instanseg(name).binary_loss_fn(logits, masks, sigma=torch.zeros(1))
    thresholded = (masks > 0.5).float()
    expected = PLAIN[name](penalized(logits, thresholded[:, None], 5), thresholded)
    if plain_weight:
        expected = expected + PLAIN[name](logits, thresholded)
    torch.testing.assert_close(
        loss_and_gradient(actual, [logits]), loss_and_gradient(expected, [logits])
    )


def test_the_choice_survives_the_hot_start(logits: Tensor, masks: Tensor) -> None:
    method = instanseg("scnp_dice_ce")
    first = method.binary_loss_fn(logits, masks, sigma=None)
    method.update_binary_loss("dice_loss")  # what InstanSeg's training does at its hot start
    assert method.binary_loss_fn(logits, masks) == theirs("dice_loss", logits, masks)
    method.update_binary_loss("scnp_dice_ce")  # and after it
    assert method.binary_loss_fn(logits, masks, sigma=None) == first


def test_enabling_again_replaces_the_settings(logits: Tensor, masks: Tensor) -> None:
    before = instanseg("scnp_dice_ce").binary_loss_fn(logits, masks)
    enable(1)  # a window of one pixel: SCNP changes nothing
    after = instanseg("scnp_dice_ce").binary_loss_fn(logits, masks)
    torch.testing.assert_close(after, dice_ce(logits, (masks > 0.5).float()))
    assert after < before


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'scnp_tversky', takes one of InstanSeg's names or"):
        instanseg("scnp_tversky")


def test_bad_settings_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="kernel_size: got 4"):
        enable(4)


def test_instansegs_own_training(tmp_path: Path) -> None:
    """Its script, hot start included, on a data set of its own format."""
    generator = np.random.default_rng(0)
    data = {"Train": 4, "Validation": 2}
    torch.save(
        {part: [cells(generator) for _ in range(count)] for part, count in data.items()},
        tmp_path / "tiny_dataset.pth",
    )
    options = (
        f"--data_path {tmp_path} --dataset tiny --source_dataset [synthetic] "
        f"--output_path {tmp_path / 'models'} --experiment_str smoke --device cpu "
        "--num_workers 1 --batch_size 2 --length_of_epoch 8 --num_epochs 3 --hotstart_training 1 "
        "--layers [8,16,32] --tile_size 64 --window_size 32 --lr 0.01 --rng_seed 1 "
        "--seed_loss_fn binary_xloss --binary_loss_fn scnp_dice_ce"
    )
    result = subprocess.run(
        [sys.executable, "-m", "scnp_kernels.integrations.instanseg", *options.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    start = "Starting main training loop with binary_xloss and scnp_dice_ce"
    hot_start, main_loop = result.stdout.split(start)
    assert len(training_losses(hot_start)) == 1
    losses = training_losses(main_loop)
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert (tmp_path / "models" / "smoke" / "model_weights.pth").exists()


def training_losses(output: str) -> list[float]:
    """InstanSeg prints one line per epoch: ``train_loss: 2.3, test_loss: ...``."""
    lines = [line for line in output.splitlines() if line.startswith("train_loss: ")]
    return [float(line.split(",")[0].removeprefix("train_loss: ")) for line in lines]


def cells(generator: np.random.Generator) -> dict[str, object]:
    """An item of InstanSeg's data sets: an image [3, H, W], and one number per nucleus [H, W]."""
    y, x = np.mgrid[:96, :96]
    nuclei = np.zeros((96, 96), np.int32)
    for index, (row, column) in enumerate(np.ndindex(4, 4), start=1):
        down, across = 16 + 20 * np.array([row, column]) + generator.integers(-3, 4, 2)
        nuclei[(y - down) ** 2 + (x - across) ** 2 < generator.integers(36, 64)] = index
    image = 150 * (nuclei > 0) + generator.normal(60, 10, (3, 96, 96))
    return {
        "image": image.clip(0, 255).astype(np.uint8),
        "nucleus_masks": nuclei,
        "parent_dataset": "synthetic",
        "pixel_size": 0.5,
    }
