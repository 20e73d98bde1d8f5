"""Which number format trains faster on this machine, found out by training a few iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from time import process_time

import torch

from benchmarks.topology.configuration import PRECISIONS, Configuration
from benchmarks.topology.datasets import DataSet
from benchmarks.topology.losses import build_loss
from benchmarks.topology.training import Training

ROUNDS = 5
# A difference below this is not worth the digits.
WORTH_IT = 0.9  # of float32's time


def faster_precision(
    data: DataSet, configuration: Configuration, device: torch.device
) -> tuple[str, str]:
    """The precision to train with, and a sentence that says why.

    bfloat16 where an iteration takes at most nine tenths of the processor time in it, measured on
    one thread: about half with AMX, several times as long without AVX-512's bfloat16. On other
    devices than the CPU nothing is measured, and float32 is taken.
    """
    if device.type != "cpu":
        return "float32", "trains in float32; --precision bfloat16 is the other"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as every training has
    try:
        took = _seconds_per_iteration(data, configuration, PRECISIONS, device)
    finally:
        torch.set_num_threads(threads)
    chosen = "bfloat16" if took["bfloat16"] <= WORTH_IT * took["float32"] else "float32"
    measured = ", ".join(f"{name} {1e3 * of:.0f} ms" for name, of in took.items())
    return chosen, f"an iteration takes {measured}: trains in {chosen} (--precision chooses)"


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
