"""Time and memory of one implementation on one case."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from benchmarks.gpu import device
from benchmarks.gpu.rows import Row
from benchmarks.harness.memory import bytes_of
from benchmarks.harness.subject import Rotation, Subject

Taken = TypeVar("Taken")

WARM_UP = 2
LEAST_ROUNDS, MOST_ROUNDS = 5, 50
SECONDS = 0.05 if device.REHEARSAL else 0.25  # of one implementation on one case


def spread(name: str, samples: Sequence[float]) -> Row:
    """Return the median, and the range that holds the middle eight tenths of the samples."""
    ordered = sorted(samples)
    tenth = len(ordered) // 10
    return {
        name: round(statistics.median(ordered), 5),
        f"{name}_low": round(ordered[tenth], 5),
        f"{name}_high": round(ordered[-1 - tenth], 5),
    }


def passes(subject: Subject) -> Row:
    """Time both passes, then look at the memory of one.

    ``host_ms`` is what Python takes to launch both: where it is more than the GPU's time, the GPU
    waits in a training.
    """
    clock = device.clock()

    def sample() -> tuple[float, ...]:
        forward, backward = subject.seconds_both(clock)
        return forward, backward, clock.launching(), forward + backward

    samples = _samples(sample)
    row: Row = {"rounds": len(samples)}
    names = ("forward_ms", "backward_ms", "host_ms", "both_ms")
    for name, seconds in zip(names, zip(*samples, strict=True), strict=True):
        row |= spread(name, [1e3 * each for each in seconds])
    return {**row, **memory(subject)}


def copies(rotation: Rotation) -> Row:
    """Time a copy of the logits into memory that is there: the card's own rate."""
    destination = torch.empty_like(rotation.inputs[0].logits.detach())
    copy = Subject(lambda given: destination.copy_(given.logits.detach()), rotation, backward=None)
    clock = device.clock()
    samples = _samples(lambda: 1e3 * copy.seconds_forward(clock))
    moved = 2 * destination.numel() * destination.element_size()
    row = spread("both_ms", samples)
    return {**row, "rounds": len(samples), "bytes_per_ms": moved / row["both_ms"]}


def _samples(take: Callable[[], Taken]) -> list[Taken]:
    """Take samples for a while; the first ones, which warm up, are left out."""
    end = time.perf_counter() + SECONDS
    samples = [take() for _ in range(WARM_UP + LEAST_ROUNDS)]
    while len(samples) < WARM_UP + MOST_ROUNDS and time.perf_counter() < end:
        samples.append(take())
    return samples[WARM_UP:]


def memory(subject: Subject) -> Row:
    """Return bytes of tensors beyond the inputs, the result and the gradient.

    ``forward_peak`` and ``backward_peak`` are the most at one moment of a pass; ``kept`` is what
    waits between the two.
    """
    assert subject.backward is not None
    given = subject.rotation.inputs[0]
    gc.collect()
    device.synchronize()
    before = device.requested_bytes()
    device.reset_peak()
    result = subject.forward(given)
    device.synchronize()
    of_result = bytes_of(result)
    forward_peak = device.peak_of_requested_bytes() - before - of_result
    kept = device.requested_bytes() - before - of_result
    device.reset_peak()
    gradient = subject.backward(result, given)
    device.synchronize()
    backward_peak = device.peak_of_requested_bytes() - before - of_result - bytes_of(gradient)
    if device.REHEARSAL:
        return {"forward_peak": None, "kept": None, "backward_peak": None}
    return {"forward_peak": forward_peak, "kept": kept, "backward_peak": backward_peak}
