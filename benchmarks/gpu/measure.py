"""Time and memory of one implementation on one case."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import device
from benchmarks.gpu.rows import Row

WARM_UP = 2
LEAST_ROUNDS, MOST_ROUNDS = 5, 50
SECONDS = 0.05 if device.REHEARSAL else 0.25  # of one implementation on one case

Forward = Callable[[Any], Tensor]  # of a buffer
Backward = Callable[[Tensor, Any], Tensor]  # of the result and the buffer: the gradient


def backward_of_penalized(penalized: Tensor, buffer: Any) -> Tensor:
    """Return the gradient of the logits for the buffer's incoming gradient."""
    gradient: Tensor = torch.autograd.grad(penalized, buffer.logits, buffer.incoming)[0]
    return gradient


def backward_of_loss(loss: Tensor, buffer: Any) -> Tensor:
    """Return the gradient of the logits."""
    gradient: Tensor = torch.autograd.grad(loss, buffer.logits)[0]
    return gradient


def spread(name: str, samples: Sequence[float]) -> Row:
    """Return the median, and the range that holds the middle eight tenths of the samples."""
    ordered = sorted(samples)
    tenth = len(ordered) // 10
    return {
        name: round(statistics.median(ordered), 5),
        f"{name}_low": round(ordered[tenth], 5),
        f"{name}_high": round(ordered[-1 - tenth], 5),
    }


def passes(forward: Forward, backward: Backward, buffers: Sequence[Any]) -> Row:
    """Time both passes by events, then look at the memory of one.

    ``host_ms`` is what Python takes to launch both: where it is more than the GPU's time, the GPU
    waits in a training.
    """
    samples: list[tuple[float, float, float]] = []
    begun = time.perf_counter()
    while not _enough(len(samples), begun):
        buffer = buffers[len(samples) % len(buffers)]
        events = [device.Event() for _ in range(3)]
        device.hold_back()
        launching = time.perf_counter()
        events[0].record()
        result = forward(buffer)
        events[1].record()
        gradient = backward(result, buffer)
        events[2].record()
        host_ms = 1e3 * (time.perf_counter() - launching)
        device.synchronize()
        del result, gradient  # freed after the time, and before the next call asks for memory
        samples.append(
            (
                events[0].milliseconds_until(events[1]),
                events[1].milliseconds_until(events[2]),
                host_ms,
            )
        )
    kept = samples[WARM_UP:]
    row: Row = {"rounds": len(kept)}
    for number, name in enumerate(("forward_ms", "backward_ms", "host_ms")):
        row |= spread(name, [sample[number] for sample in kept])
    row |= spread("both_ms", [sample[0] + sample[1] for sample in kept])
    return {**row, **memory(forward, backward, buffers[0])}


def copies(buffers: Sequence[Any]) -> Row:
    """Time a copy of the logits into memory that is there: the card's own rate."""
    destination = torch.empty_like(buffers[0].logits.detach())
    samples: list[float] = []
    begun = time.perf_counter()
    while not _enough(len(samples), begun):
        source = buffers[len(samples) % len(buffers)].logits.detach()
        events = [device.Event() for _ in range(2)]
        device.hold_back()
        events[0].record()
        destination.copy_(source)
        events[1].record()
        device.synchronize()
        samples.append(events[0].milliseconds_until(events[1]))
    moved = 2 * destination.numel() * destination.element_size()
    row = spread("both_ms", samples[WARM_UP:])
    return {**row, "rounds": len(samples) - WARM_UP, "bytes_per_ms": moved / row["both_ms"]}


def _enough(count: int, begun: float) -> bool:
    if count < WARM_UP + LEAST_ROUNDS:
        return False
    return count >= WARM_UP + MOST_ROUNDS or time.perf_counter() - begun > SECONDS


def memory(forward: Forward, backward: Backward, buffer: Any) -> Row:
    """Return bytes of tensors beyond the inputs, the result and the gradient.

    ``forward_peak`` and ``backward_peak`` are the most at one moment of a pass; ``kept`` is what
    waits between the two.
    """
    gc.collect()
    device.synchronize()
    before = device.requested_bytes()
    device.reset_peak()
    result = forward(buffer)
    device.synchronize()
    of_result = _bytes(result)
    forward_peak = device.peak_of_requested_bytes() - before - of_result
    kept = device.requested_bytes() - before - of_result
    device.reset_peak()
    gradient = backward(result, buffer)
    device.synchronize()
    backward_peak = device.peak_of_requested_bytes() - before - of_result - _bytes(gradient)
    if device.REHEARSAL:
        return {"forward_peak": None, "kept": None, "backward_peak": None}
    return {"forward_peak": forward_peak, "kept": kept, "backward_peak": backward_peak}


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
