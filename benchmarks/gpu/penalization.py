"""scnp alone, against the listing, shifted comparisons and a copy of the logits."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from benchmarks.gpu import device, measure
from benchmarks.gpu.cases import COPY, IMPLEMENTATIONS, OURS, SHAPES, cases, why_not
from benchmarks.gpu.inputs import Shared
from benchmarks.gpu.program import Job
from benchmarks.gpu.rows import Row
from benchmarks.harness.case import Case, least_bytes
from benchmarks.harness.subject import Forward, Subject
from benchmarks.kernels.check import check
from benchmarks.kernels.implementations import build_peer
from scnp_kernels import scnp
from scnp_kernels.backends import registry

TABLE = "scnp alone"


def jobs() -> Iterator[Job]:
    """Yield every implementation on every case; the inputs of one case are held at a time."""
    for case in cases(SHAPES):
        shared = Shared(case)
        for implementation in IMPLEMENTATIONS:
            if why_not(implementation, case) is None:
                job = functools.partial(_measured, implementation, shared)
                yield Job(TABLE, case.name, implementation, job)
        shared.forget()


def _measured(implementation: str, shared: Shared) -> Row:
    if implementation == COPY:
        return measure.copies(shared.rotation)
    forward = built(implementation, shared.case)
    # Pooling adds gradients up by atomics on a GPU, in another order every time: values must be the
    # same bits, gradients the same but for rounding. tests.gpu.suite compares ours bit for bit.
    check(implementation, forward, shared.rotation.inputs[0], shared.answer, bitwise=False)
    forward_bytes, backward_bytes = least_bytes(shared.case)
    row = measure.passes(Subject(forward, shared.rotation))
    row |= {"least_forward": forward_bytes, "least_backward": backward_bytes}
    if implementation == OURS:
        row["backend"] = registry.choose("auto", device.DEVICE).name
    return row


def built(implementation: str, case: Case) -> Forward:
    """Return the forward pass of an implementation; ours is what ``backend="auto"`` takes."""
    torch._dynamo.reset()  # it stops compiling a function that it has compiled eight times
    if implementation != OURS:
        return build_peer(implementation, case.kernel_size, device.COMPILER)
    return lambda buffer: scnp(buffer.logits, buffer.labels, case.kernel_size)
