"""What SCNP adds to one training step of a U-Net in mixed precision: forward, backward, optimizer.

The networks are of nnU-Net's kind and size: two convolutions with instance norm a stage, SGD with
momentum. The losses of one network take turns, so that a warming card hits all of them alike.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu import device
from benchmarks.gpu.cases import SHAPES
from benchmarks.gpu.losses import Function, fused, nnunet_dice_ce, on_scnp
from benchmarks.gpu.measure import spread
from benchmarks.gpu.program import Job
from benchmarks.gpu.rows import Row
from benchmarks.kernels.loss_peers import on_listing

TABLE = "training step"
WARM_UP, ROUNDS = (1, 2) if device.REHEARSAL else (2, 8)
# Features of the stages: nnU-Net's of its usual 2D and 3D plans, less the deepest.
STAGES: dict[int, tuple[int, ...]] = {2: (32, 64, 128, 256, 512, 512), 3: (32, 64, 128, 256, 320)}
if device.REHEARSAL:
    STAGES = {2: (4, 8), 3: (4, 8)}

PLAIN = "plain"
LOSSES: dict[str, Callable[[], Function]] = {
    PLAIN: lambda: nnunet_dice_ce,
    "fused": lambda: fused(True, 1, 0),
    "fused joint": lambda: fused(True, 1, 1),
    "fused, plain only": lambda: fused(True, 0, 1),
    "scnp + plain": lambda: functools.partial(on_scnp, nnunet_dice_ce),
    "listing + plain": lambda: functools.partial(on_listing, nnunet_dice_ce),
}


class Block(nn.Sequential):
    """Two convolutions of 3, each with instance norm and a leaky ReLU."""

    def __init__(self, dimensions: int, before: int, after: int, stride: int = 1) -> None:
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm = nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d
        layers: list[nn.Module] = []
        for number in range(2):
            channels = after if number else before
            step = 1 if number else stride
            layers += [convolution(channels, after, 3, step, 1), norm(after, affine=True)]
            layers += [nn.LeakyReLU(0.01, inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """``[B, 1, *spatial]`` to logits ``[B, classes, *spatial]``, with sides of any length."""

    def __init__(self, dimensions: int, classes: int, stages: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        before = 1
        for number, features in enumerate(stages):
            self.down.append(Block(dimensions, before, features, 2 if number else 1))
            before = features
        for deep, features in zip(stages[:0:-1], stages[-2::-1], strict=True):
            self.up.append(Block(dimensions, deep + features, features))
        last = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.last = last(stages[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        skipped: list[Tensor] = []
        for block in self.down:
            image = block(image)
            skipped.append(image)
        for block, skip in zip(self.up, skipped[-2::-1], strict=True):
            resized = F.interpolate(image, skip.shape[2:])
            image = block(torch.cat([resized, skip], dim=1))
        logits: Tensor = self.last(image)
        return logits


class Trained:
    """A network with its data and optimizer."""

    def __init__(self, shape: tuple[int, ...], losses: dict[str, Function]) -> None:
        torch.manual_seed(0)
        batch, classes, *spatial = shape
        dimensions = len(spatial)
        self.losses = losses
        self.network = UNet(dimensions, classes, STAGES[dimensions]).to(device.DEVICE)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 1e-4, momentum=0.99, nesterov=True
        )
        self.image = torch.randn(batch, 1, *spatial, device=device.DEVICE)
        self.labels = torch.randint(0, classes, (batch, *spatial), device=device.DEVICE)

    def step(self, name: str) -> tuple[float, int]:
        """Return the milliseconds of one step, and the most bytes alive in it."""
        device.reset_peak()
        clock = device.clock(hold=False)
        clock.start()
        self.optimizer.zero_grad(set_to_none=True)
        with device.autocast(torch.bfloat16):
            loss = self.losses[name](self.network(self.image), self.labels)
        loss.backward()
        self.optimizer.step()
        clock.mark()
        return 1e3 * clock.laps()[0], device.peak_of_requested_bytes()


def jobs() -> Iterator[Job]:
    """Yield a job for each network, whose rows are nested in one: the losses took turns."""
    for shape in (SHAPES.nnunet_2d, SHAPES.nnunet_3d):
        case = "x".join(map(str, shape))
        yield Job(TABLE, f"{len(shape) - 2}D U-Net, {case}", "all losses",
                  functools.partial(_measured, shape))  # fmt: skip


def _measured(shape: tuple[int, ...]) -> Row:
    torch.backends.cudnn.benchmark = True
    trained = Trained(shape, {name: build() for name, build in LOSSES.items()})
    samples: dict[str, list[float]] = {name: [] for name in LOSSES}
    peaks: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for number in range(WARM_UP + ROUNDS):
        for name in LOSSES:
            if name in reasons:
                continue
            try:
                milliseconds, peak = trained.step(name)
            except RuntimeError as error:
                if name == PLAIN or device.sticky_error() is not None:
                    raise
                reasons[name] = str(error)
                continue
            if number >= WARM_UP:
                samples[name].append(milliseconds)
                peaks[name] = peak
    gc.collect()
    nested: list[Row] = []
    for name in LOSSES:
        if name in reasons:
            nested.append({"loss": name, "state": "failed", "reason": reasons[name]})
            continue
        added = [ours - plain for ours, plain in zip(samples[name], samples[PLAIN], strict=True)]
        nested.append(
            {
                "loss": name,
                **spread("step_ms", samples[name]),
                **spread("added_ms", added),
                "peak": None if device.REHEARSAL else peaks[name],
                "added_bytes": None if device.REHEARSAL else peaks[name] - peaks[PLAIN],
            }
        )
    return {"losses": nested, "rounds": ROUNDS}
