"""Train the network with one loss, and segment images with it. SCNP is in the loss alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common.images import BoolMask, FloatImage
from benchmarks.demo.measures import betti0_error
from benchmarks.demo.network import SIDE_MULTIPLE, build_network
from benchmarks.demo.samples import Sample


class TrainingError(Exception):
    """The training cannot go on; the message says at which iteration and why."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the same for every method."""

    iterations: int = 300
    crop_size: int = 128
    batch_size: int = 4
    learning_rate: float = 0.02
    momentum: float = 0.9
    decay_power: float = 0.9  # learning rate = learning_rate * (1 - progress) ** decay_power
    validations: int = 10


@dataclass
class Curve:
    """Validation over the iterations: plain network output for every method."""

    iterations: list[int] = field(default_factory=list)
    betti0_error: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """A trained network, how it got there, and the seconds its iterations took."""

    network: nn.Module
    curve: Curve
    seconds: float  # without the validations


def train(
    loss: nn.Module,
    train_samples: list[Sample],
    val_samples: list[Sample],
    recipe: Recipe,
    seed: int,
    on_iteration: Callable[[float], object],
) -> Trained:
    """Train a fresh network with `loss`; equal seeds give equal first weights and crops.

    `on_iteration` is called after every iteration with the training loss. Raises TrainingError
    when it is no longer finite.
    """
    network = build_network(seed)
    crops = np.random.default_rng(seed)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, recipe.momentum, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.PolynomialLR(
        optimizer, recipe.iterations, recipe.decay_power
    )
    images = [standardise(sample.image) for sample in train_samples]
    curve = Curve()
    seconds = 0.0
    for iteration in range(1, recipe.iterations + 1):
        start = time.perf_counter()
        batch, target = draw_crops(images, train_samples, recipe, crops)
        optimizer.zero_grad()
        value = loss(network(batch), target)
        value.backward()
        optimizer.step()
        schedule.step()
        training_loss = float(value.detach())
        seconds += time.perf_counter() - start
        if not math.isfinite(training_loss):
            raise TrainingError(f"the loss is {training_loss} at iteration {iteration}")
        if iteration in _validation_iterations(recipe):
            _validate(network, val_samples, curve, iteration)
        on_iteration(training_loss)
    return Trained(network, curve, seconds)


def standardise(image: FloatImage) -> Tensor:
    """The image as [3, height, width], every channel with mean 0 and deviation 1."""
    planes = torch.from_numpy(image).permute(2, 0, 1)
    deviation, mean = torch.std_mean(planes, dim=(1, 2), keepdim=True)
    return (planes - mean) / deviation.clamp_min(1e-6)


def draw_crops(
    images: list[Tensor], samples: list[Sample], recipe: Recipe, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A random batch: images [B, 3, side, side] and labels [B, 1, side, side] of 0 and 1."""
    side = recipe.crop_size
    crops, labels = [], []
    for _ in range(recipe.batch_size):
        index = int(random.integers(len(samples)))
        height, width = samples[index].truth.shape
        top = int(random.integers(height - side + 1))
        left = int(random.integers(width - side + 1))
        rows, columns = slice(top, top + side), slice(left, left + side)
        turns = int(random.integers(4))
        flip = [2] if random.random() < 0.5 else []
        crop = images[index][:, rows, columns]
        label = torch.from_numpy(samples[index].truth[rows, columns])[None]
        crops.append(torch.rot90(crop, turns, (1, 2)).flip(flip))
        labels.append(torch.rot90(label, turns, (1, 2)).flip(flip))
    return torch.stack(crops), torch.stack(labels).long()


@torch.no_grad()
def segment(network: nn.Module, image: FloatImage) -> BoolMask:
    """The foreground that the plain network output gives, for any image size; no SCNP here."""
    height, width = image.shape[:2]
    padding = (0, -width % SIDE_MULTIPLE, 0, -height % SIDE_MULTIPLE)
    padded = functional.pad(standardise(image)[None], padding, mode="replicate")
    network.eval()
    logits: Tensor = network(padded)[0, :, :height, :width]  # [2, height, width]
    network.train()
    foreground: BoolMask = (logits[1] > logits[0]).numpy()
    return foreground


def _validation_iterations(recipe: Recipe) -> set[int]:
    count = min(recipe.validations, recipe.iterations)
    return {round(recipe.iterations * (step + 1) / count) for step in range(count)}


def _validate(network: nn.Module, samples: list[Sample], curve: Curve, iteration: int) -> None:
    errors = [betti0_error(segment(network, sample.image), sample.truth) for sample in samples]
    curve.iterations.append(iteration)
    curve.betti0_error.append(float(np.mean(errors)))
