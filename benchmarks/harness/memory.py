"""Memory on the CPU: what is kept for the backward pass, and the peak."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.subject import Forward, gradient

# Or each profile prints two lines that mean nothing here.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def saved_for_backward(run: Forward, given: Any, held: Sequence[Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, beyond what is ``held`` anyway.

    Each piece of memory counts once, whole, however many tensors look at it.
    """
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run(given)
    for tensor in held:
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    del result  # until here: while the graph lives, no memory in it is used again
    return sum(saved.values())


def peak_of_tensors(run: Forward, given: Any) -> int:
    """Most bytes of tensors alive at once in forward + backward, beyond inputs and results.

    Counts what goes through torch's allocator, inside C++ operators as well. The results are the
    penalized logits or the loss, which the caller holds, and the gradient. Compile before: that
    allocates too.
    """
    with allocations() as profiler:
        result = run(given)
        found = gradient(result, given)
    return peak_of(profiler) - bytes_of(result) - bytes_of(found)


@contextmanager
def allocations() -> Iterator[Any]:
    """Profile torch's allocator; our large results, which otherwise go past it, go through it."""
    # Here: whoever asks for no memory may measure a version that has no such file.
    from scnp_kernels.backends.native import operators

    recycle_none = mock.patch.object(operators, "_SMALLEST_RECYCLED", sys.maxsize)
    with recycle_none, profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        yield profiler


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


def bytes_of(tensor: Tensor) -> int:
    """Of the memory that a tensor looks at."""
    return tensor.untyped_storage().nbytes()
