"""One training with one loss, saved as it goes. SCNP is in the loss alone, never in inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common.files import written_whole
from benchmarks.topology.configuration import SIDE_MULTIPLE, Configuration
from benchmarks.topology.crops import Crops
from benchmarks.topology.datasets import DataSet, Labels, Planes, Sample
from benchmarks.topology.network import build_network
from benchmarks.topology.scoring import mean_of, score_image

# Watching the training must not take longer than the training.
VALIDATION_IMAGES = 10
VALIDATION_PIXELS = 1 << 20  # of all of them
# Larger images than this go through the network window by window (pixels of one image).
WHOLE_AT_ONCE = 8 << 20
MOMENTUM, DECAY_POWER = 0.9, 0.9
PARTS = ("data", "forward", "loss", "backward", "optimiser")  # of an iteration
STATEFUL = ("network", "optimizer", "schedule")  # parts of a training that keep a state
COUNTED = ("iteration", "seconds_of", "curve")

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
    # Spent on iterations, without validations, by what they do. On a GPU, which works on while the
    # program goes ahead, the parts say little and their sum is right.
    seconds_of: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    curve: list[CurvePoint] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Spent on iterations."""
        return sum(self.seconds_of.values())

    def save(self, file: Path) -> None:
        """Write the checkpoint, whole."""
        with written_whole(file) as temporary:
            parts = {name: getattr(self, name).state_dict() for name in STATEFUL}
            rest = {name: getattr(self, name) for name in COUNTED}
            torch.save({**parts, "random": self.random.bit_generator.state, **rest}, temporary)

    def load(self, file: Path, device: torch.device) -> None:
        """Take up the checkpoint where it was saved. Raises TrainingError if it is damaged."""
        try:
            state = torch.load(file, map_location=device, weights_only=True)
            for name in STATEFUL:
                getattr(self, name).load_state_dict(state[name])
            self.random.bit_generator.state = state["random"]
            for name in COUNTED:
                setattr(self, name, state[name])
        except Exception as error:  # many kinds: of files, archives, pickles and what they hold
            raise TrainingError(
                f"{file}: cannot be read ({' '.join(str(error).split())}); delete it and give the "
                "same `run` again, which begins that training anew"
            ) from error


class Training:
    """One network in training: an iteration at a time, its state, and the validation images."""

    def __init__(
        self,
        loss: Loss,
        data: DataSet,
        configuration: Configuration,
        seed: int,
        device: torch.device,
        *,
        decays: bool = True,
    ) -> None:
        """Equal seeds have equal first weights and crops; ``decays``: the learning rate does."""
        self._memory_format = fast_memory_format(data.spatial_dimensions, device)
        network = build_network(
            seed, data.spatial_dimensions, data.channels, data.classes, configuration.features
        )
        network.to(device, memory_format=self._memory_format)  # type: ignore[call-overload]
        optimizer: torch.optim.Optimizer
        fused = device.type in ("cpu", "cuda")
        if configuration.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                network.parameters(),
                configuration.learning_rate,
                MOMENTUM,
                nesterov=True,
                fused=fused,
            )
        else:
            optimizer = torch.optim.Adam(
                network.parameters(), configuration.learning_rate, fused=fused
            )
        schedule = torch.optim.lr_scheduler.PolynomialLR(
            optimizer, configuration.iterations, DECAY_POWER if decays else 0.0
        )
        self.progress = Progress(network, optimizer, schedule, np.random.default_rng(seed))
        self.validation_images = _watched(data.val)
        self.device = device
        self._loss, self._configuration = loss, configuration
        self._crops = Crops(data.train, configuration)

    def iterate(self, done: float) -> float:
        """One iteration; returns the loss before it. Raises TrainingError where it is not finite.

        ``done`` is the share of the iterations before, for losses that change.
        """
        progress = self.progress
        start = time.perf_counter()

        def lap(part: str) -> None:
            nonlocal start
            now = time.perf_counter()
            progress.seconds_of[part] += now - start
            start = now

        images, labels = self._crops.draw(progress.random)
        images = images.to(self.device).contiguous(memory_format=self._memory_format)
        labels = labels.to(self.device)
        lap("data")
        in_bfloat16 = self._configuration.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=in_bfloat16):
            logits = progress.network(images)
        lap("forward")
        value = self._loss(logits, labels, done)
        training_loss = float(value.detach())
        lap("loss")
        progress.optimizer.zero_grad()
        value.backward()
        lap("backward")
        progress.optimizer.step()
        progress.schedule.step()
        lap("optimiser")
        progress.iteration += 1
        if not np.isfinite(training_loss):
            raise TrainingError(f"the loss is {training_loss} at iteration {progress.iteration}")
        return training_loss

    def record(self, training_loss: float, measured: CurvePoint, checkpoint: Path) -> None:
        """Put a point on the curve, and save the state with it."""
        progress = self.progress
        progress.curve.append(
            {
                "iteration": progress.iteration,
                "seconds": progress.seconds,
                "training_loss": training_loss,
                **measured,
            }
        )
        progress.save(checkpoint)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch compute on so many threads, and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fast_memory_format(spatial_dimensions: int, device: torch.device) -> torch.memory_format:
    """Channels last on CPUs, where convolutions of few channels are faster so."""
    if device.type != "cpu":
        return torch.contiguous_format
    return torch.channels_last if spatial_dimensions == 2 else torch.channels_last_3d


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
    training = Training(loss, data, configuration, seed, device)
    progress = training.progress
    if checkpoint.exists():
        progress.load(checkpoint, device)
        on_iteration(progress.iteration)
    stops = _validation_iterations(configuration)
    while progress.iteration < configuration.iterations:
        training_loss = training.iterate(progress.iteration / configuration.iterations)
        if progress.iteration in stops:
            measured = _validate(
                progress.network, training.validation_images, configuration, device
            )
            training.record(training_loss, measured, checkpoint)
        on_iteration(1)
    return progress


def time_of_a_step(seconds_of: Mapping[str, float], iterations: int) -> str:
    """How long an iteration took and what for, as text."""
    total = sum(seconds_of.values())
    shares = ", ".join(f"{part} {of / total:.0%}" for part, of in seconds_of.items())
    return f"{1e3 * total / iterations:.3g} ms per iteration: {shares}"


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
    padded = functional.pad(batch, padding, mode="replicate").contiguous(
        memory_format=fast_memory_format(len(sides), device)
    )
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


def _watched(samples: Sequence[Sample]) -> list[Sample]:
    """The first images of a split; of large ones the middle."""
    chosen = samples[:VALIDATION_IMAGES]
    return [_middle_of(sample, VALIDATION_PIXELS // max(1, len(chosen))) for sample in chosen]


def _middle_of(sample: Sample, pixels: int) -> Sample:
    """The middle of an image, of at most so many pixels: watching a training must stay cheap."""
    shape = sample.truth.shape
    while prod(shape) > pixels:  # the longest side gives way
        longest = max(shape)
        shape = tuple(side - 1 if side == longest else side for side in shape)
    part = tuple(
        slice((whole - side) // 2, (whole - side) // 2 + side)
        for whole, side in zip(sample.truth.shape, shape, strict=True)
    )
    return Sample(sample.name, sample.image[(slice(None), *part)], sample.truth[part])
