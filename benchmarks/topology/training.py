"""One training with one loss, saved as it goes. SCNP is in the loss alone, never in inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common.files import written_whole
from benchmarks.topology.configuration import SIDE_MULTIPLE, Configuration
from benchmarks.topology.datasets import DataSet, Labels, Planes, Sample
from benchmarks.topology.network import build_network
from benchmarks.topology.scoring import mean_of, score_image

# Watching the training must not take longer than the training.
VALIDATION_IMAGES = 10
VALIDATION_SIDE = 256
# Larger images than this go through the network window by window (pixels of one image).
WHOLE_AT_ONCE = 8 << 20
MOMENTUM, DECAY_POWER = 0.9, 0.9
STATEFUL = ("network", "optimizer", "schedule")  # parts of a training that keep a state

# Called with logits [B, C, *spatial], labels [B, *spatial] and the share of iterations done.
Loss = Callable[[Tensor, Tensor, float], Tensor]
CurvePoint = dict[str, float]  # iteration, training loss, and the validation's measures


class TrainingError(Exception):
    """The training cannot go on; the message says at which iteration and why."""


@dataclass
class Progress:
    """Everything that an interrupted training needs to go on as if nothing had happened."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    random: np.random.Generator  # draws the crops
    iteration: int = 0
    seconds: float = 0.0  # spent on iterations, without validations
    curve: list[CurvePoint] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write the checkpoint, whole."""
        with written_whole(file) as temporary:
            parts = {name: getattr(self, name).state_dict() for name in STATEFUL}
            rest = {name: getattr(self, name) for name in ("iteration", "seconds", "curve")}
            torch.save({**parts, "random": self.random.bit_generator.state, **rest}, temporary)

    def load(self, file: Path, device: torch.device) -> None:
        """Take up the checkpoint where it was saved. Raises TrainingError if it is damaged."""
        try:
            state = torch.load(file, map_location=device, weights_only=True)
            for name in STATEFUL:
                getattr(self, name).load_state_dict(state[name])
            self.random.bit_generator.state = state["random"]
            self.iteration, self.seconds = state["iteration"], state["seconds"]
            self.curve = state["curve"]
        except Exception as error:  # many kinds: of files, archives, pickles and what they hold
            raise TrainingError(
                f"{file}: cannot be read ({' '.join(str(error).split())}); delete it and give the "
                "same `run` again, which begins that training anew"
            ) from error


def train(
    loss: Loss,
    data: DataSet,
    configuration: Configuration,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    on_iteration: Callable[[int], None],
) -> Progress:
    """Train, from the checkpoint if there is one; equal seeds give equal weights and crops.

    ``on_iteration`` is called with the number of iterations newly done. Raises TrainingError
    when the loss is no longer finite.
    """
    progress = _start(data, configuration, seed, device)
    if checkpoint.exists():
        progress.load(checkpoint, device)
        on_iteration(progress.iteration)
    stops = _validation_iterations(configuration)
    watched = [_middle_of(sample) for sample in data.val[:VALIDATION_IMAGES]]
    while progress.iteration < configuration.iterations:
        start = time.perf_counter()
        done = progress.iteration / configuration.iterations
        images, labels = draw_crops(data.train, configuration, progress.random)
        progress.optimizer.zero_grad()
        value = loss(progress.network(images.to(device)), labels.to(device), done)
        value.backward()
        progress.optimizer.step()
        progress.schedule.step()
        training_loss = float(value.detach())
        progress.seconds += time.perf_counter() - start
        progress.iteration += 1
        if not np.isfinite(training_loss):
            raise TrainingError(f"the loss is {training_loss} at iteration {progress.iteration}")
        if progress.iteration in stops:
            point = _validate(progress.network, watched, configuration, device)
            progress.curve.append(
                {
                    "iteration": progress.iteration,
                    "seconds": progress.seconds,
                    "training_loss": training_loss,
                    **point,
                }
            )
            progress.save(checkpoint)
        on_iteration(1)
    return progress


def _start(
    data: DataSet, configuration: Configuration, seed: int, device: torch.device
) -> Progress:
    network = build_network(
        seed,
        data.spatial_dimensions,
        data.channels,
        data.classes,
        configuration.features,
    ).to(device)
    optimizer: torch.optim.Optimizer
    if configuration.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            network.parameters(), configuration.learning_rate, MOMENTUM, nesterov=True
        )
    else:
        optimizer = torch.optim.Adam(network.parameters(), configuration.learning_rate)
    schedule = torch.optim.lr_scheduler.PolynomialLR(
        optimizer, configuration.iterations, DECAY_POWER
    )
    return Progress(network, optimizer, schedule, np.random.default_rng(seed))


def draw_crops(
    samples: Sequence[Sample], configuration: Configuration, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A random batch: images [B, channels, *crop] and labels [B, *crop], turned and mirrored."""
    images, labels = [], []
    for _ in range(configuration.batch_size):
        sample = samples[int(random.integers(len(samples)))]
        part, padding = [], []
        for whole, side in zip(sample.truth.shape, configuration.crop, strict=True):
            missing = max(0, side - whole)
            start = int(random.integers(missing + max(whole, side) - side + 1))
            before = start if missing else 0
            padding.append((before, missing - before))
            part.append(slice(0, whole) if missing else slice(start, start + side))
        image, label = sample.image[(slice(None), *part)], sample.truth[tuple(part)]
        if any(map(any, padding)):  # thin stacks: as `segment` pads them
            image = np.pad(image, [(0, 0), *padding], mode="edge")
            label = np.pad(label, padding, mode="edge")
        mirrored = tuple(axis for axis in range(label.ndim) if random.random() < 0.5)
        image = np.flip(image, tuple(axis + 1 for axis in mirrored))
        label = np.flip(label, mirrored)
        if label.shape[-1] == label.shape[-2] and random.random() < 0.5:
            image, label = image.swapaxes(-1, -2), label.swapaxes(-1, -2)
        images.append(torch.from_numpy(np.ascontiguousarray(image)))
        labels.append(torch.from_numpy(np.ascontiguousarray(label)))
    return torch.stack(images), torch.stack(labels).long()


def segment(
    network: nn.Module, image: Planes, configuration: Configuration, device: torch.device
) -> Labels:
    """The most probable class of every pixel by the plain network output; no SCNP here."""
    probabilities = class_probabilities(network, image, configuration, device)
    labels: Labels = probabilities.argmax(0).astype(np.uint8)
    return labels


@torch.no_grad()
def class_probabilities(
    network: nn.Module, image: Planes, configuration: Configuration, device: torch.device
) -> Planes:
    """The softmax of the plain network output, [classes, *spatial]."""
    sides = image.shape[1:]
    multiple = SIDE_MULTIPLE
    padding = [amount for side in reversed(sides) for amount in (0, -side % multiple)]
    batch = torch.from_numpy(image)[None].to(device)  # [1, channels, *sides]
    padded = functional.pad(batch, padding, mode="replicate")
    network.eval()
    if padded[0, 0].numel() <= WHOLE_AT_ONCE:
        logits = network(padded)
    else:
        window = [min(side, 4 * crop) for side, crop in zip(sides, configuration.crop, strict=True)]
        logits = sliding_window_inference(
            padded, [side + -side % multiple for side in window], 1, network, mode="gaussian"
        )
    network.train()
    inside = (0, slice(None), *(slice(0, side) for side in sides))
    probabilities: Planes = logits[inside].float().softmax(0).cpu().numpy()
    return probabilities


def _validation_iterations(configuration: Configuration) -> set[int]:
    count = min(configuration.validations, configuration.iterations)
    return {round(configuration.iterations * (step + 1) / count) for step in range(count)}


def _validate(
    network: nn.Module,
    samples: Sequence[Sample],
    configuration: Configuration,
    device: torch.device,
) -> CurvePoint:
    scores = [
        score
        for sample in samples
        for score in score_image(
            sample.name,
            segment(network, sample.image, configuration, device),
            sample.truth,
            configuration,
        )
    ]
    return {measure: mean_of(scores, measure) for measure in configuration.measures}


def _middle_of(sample: Sample) -> Sample:
    """The middle of a large image, so that watching the training stays cheap."""
    part = tuple(
        slice(start, start + VALIDATION_SIDE)
        for start in (max(0, side - VALIDATION_SIDE) // 2 for side in sample.truth.shape)
    )
    return Sample(sample.name, sample.image[(slice(None), *part)], sample.truth[part])
