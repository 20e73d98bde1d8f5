"""Which number format trains right, and faster, on this machine: found out by trying both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from time import process_time

import torch
from torch import Tensor

from benchmarks.common.errors import UsageError
from benchmarks.common.tables import by
from benchmarks.topology.configuration import LEVELS, PRECISIONS, Configuration
from benchmarks.topology.datasets import DataSet
from benchmarks.topology.losses import build_loss
from benchmarks.topology.training import (
    Training,
    TrainingError,
    fast_memory_format,
    on_threads,
)

ROUNDS = 5
# A difference below this is not worth the digits.
WORTH_IT = 0.9  # of float32's time
# Of a convolution's weight gradient, bfloat16's own rounding makes about 0.002.
MOST_ERROR = 0.1
TRIES = 3  # what is wrong is so by chance, as it depends on what lay in memory


def faster_precision(
    data: DataSet, configuration: Configuration, device: torch.device, threads: int
) -> tuple[str, str]:
    """The precision to train with, and a sentence that says why.

    bfloat16 where an iteration takes at most nine tenths of the processor time in it, measured on
    one thread (about half with AMX, several times as long without AVX-512's bfloat16), and where
    its gradients are right. On other devices than the CPU nothing is measured, and float32 is
    taken. ``threads`` are those of a pilot; trainings have one.
    """
    if device.type != "cpu":
        return "float32", "trains in float32; --precision bfloat16 is the other"
    try:
        with on_threads(1):
            took = _seconds_per_iteration(data, configuration, PRECISIONS, device)
    except TrainingError as error:
        return "float32", f"bfloat16 cannot be tried here ({error}): trains in float32"
    chosen = "bfloat16" if took["bfloat16"] <= WORTH_IT * took["float32"] else "float32"
    if chosen == "bfloat16":
        wrong = sides_wrong_in_bfloat16(configuration, threads)
        if wrong:
            return "float32", f"{_wrong(wrong)}: trains in float32"
    measured = ", ".join(f"{name} {1e3 * of:.0f} ms" for name, of in took.items())
    return chosen, f"an iteration takes {measured}: trains in {chosen} (--precision chooses)"


def check_precision(
    configuration: Configuration, device: torch.device, threads: int, source: str
) -> None:
    """Raise UsageError for trainings in bfloat16 whose gradients would be wrong here.

    ``source`` names what says bfloat16: an option, or a file.
    """
    if configuration.precision != "bfloat16" or device.type != "cpu":
        return
    wrong = sides_wrong_in_bfloat16(configuration, threads)
    if wrong:
        raise UsageError(
            f"{source}: got bfloat16, but {_wrong(wrong)}; takes --precision float32 and, where "
            "runs in bfloat16 are there already, another --out"
        )


def sides_wrong_in_bfloat16(configuration: Configuration, threads: int) -> tuple[int, ...] | None:
    """The sides of a level of the network at which its convolutions train wrongly in bfloat16.

    None if there are none, for trainings on one thread and on ``threads``. oneDNN's weight
    gradients of 3D convolutions two voxels deep hold what lay in memory, on CPUs with AVX-512 and
    without AMX (findings/onednn-bfloat16-flat-volumes.sh); with some numbers of threads, channels
    and images its work is split so that they do not.
    """
    for count in dict.fromkeys((1, threads)):
        with on_threads(count):
            for level in reversed(range(LEVELS)):  # from the lowest one, which is soon told
                sides = tuple(side >> level for side in configuration.crop)
                shape = (configuration.batch_size, configuration.features[level], *sides)
                if any(_differs(shape, seed) for seed in range(TRIES)):
                    return sides
    return None


def _differs(shape: Sequence[int], seed: int) -> bool:
    """Whether bfloat16's weight gradient is not float32's, for features of this shape."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=generator)
    error = torch.randn(shape, generator=generator)  # the gradient from above
    expected = _weight_gradient(features, error)
    found = _weight_gradient(features.bfloat16(), error.bfloat16()).float()
    # Written so that NaN differs, too.
    return not bool((found - expected).norm() <= MOST_ERROR * expected.norm())


def _weight_gradient(features: Tensor, error: Tensor) -> Tensor:
    """Of a convolution of 3 pixels each way, laid out in memory as a training's."""
    dimensions = features.ndim - 2
    layout = fast_memory_format(dimensions, features.device)
    convolution = torch.nn.functional.conv2d if dimensions == 2 else torch.nn.functional.conv3d
    channels = features.shape[1]
    weight = torch.zeros(channels, channels, *[3] * dimensions, dtype=features.dtype)
    weight = weight.contiguous(memory_format=layout).requires_grad_()
    convolution(features.contiguous(memory_format=layout), weight, padding=1).backward(
        error.contiguous(memory_format=layout)
    )
    assert weight.grad is not None
    return weight.grad


def _wrong(sides: Sequence[int]) -> str:
    return f"gradients of {by(sides)} features are wrong in bfloat16 on this processor"


def _seconds_per_iteration(
    data: DataSet, configuration: Configuration, precisions: Sequence[str], device: torch.device
) -> dict[str, float]:
    """Seconds of this process's own time per iteration, which other programs do not lengthen."""
    trainings = {
        precision: Training(
            build_loss("ce_dice", data.classes, data.spatial_dimensions, "off"),
            data,
            replace(configuration, precision=precision),
            0,
            device,
        )
        for precision in precisions
    }
    taken: dict[str, list[float]] = {precision: [] for precision in precisions}
    for _ in range(1 + ROUNDS):
        for precision, training in trainings.items():
            start = process_time()
            training.iterate(0.0)
            taken[precision].append(process_time() - start)
    return {precision: median(times[1:]) for precision, times in taken.items()}
