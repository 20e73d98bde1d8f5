"""Memory: what is kept for the backward pass, the peak, and the least that has to move."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.kernels.cases import LABELS, Case
from benchmarks.kernels.implementations import Run, winners_dtype
from benchmarks.kernels.inputs import Buffer

# Or each profile prints two lines that mean nothing here.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def saved_for_backward(run: Run, buffer: Buffer) -> int:
    """Bytes that a forward pass keeps for the backward pass, beyond what the caller holds anyway.

    Each piece of memory counts once, whole, however many tensors look at it.
    """
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        penalized = run(buffer)
    held = [buffer.logits, buffer.labels, *buffer.made_masks()]
    for tensor in held:
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    del penalized  # until here: while the graph lives, no memory in it is used again
    return sum(saved.values())


def peak_of_tensors(run: Run, buffer: Buffer) -> int:
    """Most bytes of tensors alive at once in forward + backward, beyond inputs and results.

    Counts what goes through torch's allocator, inside C++ operators as well. The results are the
    penalized logits, which the caller holds, and the gradient. Compile before: that allocates too.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        penalized = run(buffer)
        (gradient,) = torch.autograd.grad(penalized, buffer.logits, buffer.incoming)
    return peak_of(profiler) - _bytes_of(penalized) - _bytes_of(gradient)


def peak_of(profiler: Any) -> int:
    """The most bytes that were allocated at once while the profiler looked.

    Raises:
        RuntimeError: The profiler recorded no allocation at all: this torch tells them otherwise.
    """
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    if not events:
        raise RuntimeError("the profiler recorded no allocations")
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # negative when memory is given back
        peak = max(peak, held)
    return peak


def _bytes_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def least_bytes(case: Case) -> tuple[int, int]:
    """Bytes that forward and backward have to move at least, with what ours is given and returns.

    Forward: read logits and target, write penalized logits and winners. Backward: read the
    incoming gradient and the winners, write the gradient.
    """
    values, winners = case.dtype.itemsize, winners_dtype(case).itemsize
    if case.of_loss:
        # Of SCNPDiceCELoss: both passes read logits and labels; one writes the winners, which the
        # other reads to write the gradient.
        read = case.logits * values + torch.int64.itemsize * (case.logits // case.shape[1])
        return read + case.logits * winners, read + case.logits * (winners + values)
    if case.target == LABELS:
        target = torch.int64.itemsize * (case.logits // case.shape[1])
    else:
        target = case.logits * (values if "float" in case.target else torch.bool.itemsize)
    forward = case.logits * (values + values + winners) + target
    return forward, case.logits * (values + winners + values)
