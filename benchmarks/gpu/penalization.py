"""scnp alone, against the listing, shifted comparisons and a copy of the logits."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import device, measure
from benchmarks.gpu.cases import (
    COPY,
    IMPLEMENTATIONS,
    LISTING,
    LISTING_COMPILED,
    OURS,
    SHAPES,
    SHIFTED_COMPILED,
    cases,
    why_not,
)
from benchmarks.gpu.inputs import Buffer, buffers_of
from benchmarks.gpu.program import Job, WrongResultError
from benchmarks.gpu.rows import Row
from benchmarks.kernels import peers
from benchmarks.kernels.cases import Case
from benchmarks.kernels.memory import least_bytes
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


class Shared:
    """Inputs of a case and the listing's answer, made when they are first asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @functools.cached_property
    def buffers(self) -> list[Buffer]:
        return buffers_of(self.case)

    @functools.cached_property
    def answer(self) -> tuple[Tensor, Tensor]:
        """The listing's values in the logits' dtype; its gradient summed in float32."""
        buffer, size = self.buffers[0], self.case.kernel_size
        with torch.no_grad():
            penalized = peers.listing(buffer.logits, buffer.one_hot, size)
        wide = buffer.logits.detach().float().requires_grad_()
        in_float = peers.listing(wide, buffer.one_hot.float(), size)
        (gradient,) = torch.autograd.grad(in_float, wide, buffer.incoming.float())
        return penalized, gradient

    def forget(self) -> None:
        self.__dict__.pop("buffers", None)
        self.__dict__.pop("answer", None)
        gc.collect()
        device.give_back_memory()


def _measured(implementation: str, shared: Shared) -> Row:
    if implementation == COPY:
        return measure.copies(shared.buffers)
    forward = built(implementation, shared.case)
    check(forward, shared)
    forward_bytes, backward_bytes = least_bytes(shared.case)
    row = measure.passes(forward, measure.backward_of_penalized, shared.buffers)
    row |= {"least_forward": forward_bytes, "least_backward": backward_bytes}
    if implementation == OURS:
        row["backend"] = registry.choose("auto", device.DEVICE).name
    return row


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for these shapes and no others: what the compiler is best at."""
    result: Callable[..., Any] = torch.compile(
        function, dynamic=False, fullgraph=True, backend=device.COMPILER
    )
    return result


def built(implementation: str, case: Case) -> measure.Forward:
    """Return the forward pass of an implementation; ours is what ``backend="auto"`` takes."""
    size = case.kernel_size
    torch._dynamo.reset()  # it stops compiling a function that it has compiled eight times
    if implementation == OURS:
        return lambda buffer: scnp(buffer.logits, buffer.labels, size)
    if implementation == LISTING:
        return lambda buffer: peers.listing(buffer.logits, buffer.one_hot, size)
    if implementation == LISTING_COMPILED:
        listing = compiled(peers.listing)
        return lambda buffer: listing(buffer.logits, buffer.one_hot, size)
    assert implementation == SHIFTED_COMPILED
    pad, compare = compiled(peers.pad_signed), compiled(peers.compare_shifted)

    def shifted(buffer: Buffer) -> Tensor:
        padded = pad(buffer.logits, buffer.one_hot, size)
        penalized: Tensor = compare(*padded, buffer.one_hot, size)
        return penalized

    return shifted


def check(forward: measure.Forward, shared: Shared) -> None:
    """Compare values and gradient with the listing's.

    Pooling adds gradients up by atomics on a GPU, in another order every time: values must be the
    same bits, gradients the same but for rounding. ``tests.gpu_test`` compares ours bit for bit.

    Raises:
        WrongResultError: They are others.
    """
    buffer = shared.buffers[0]
    penalized, gradient = shared.answer
    result = forward(buffer)
    found = measure.backward_of_penalized(result, buffer)
    tolerance = 64 * torch.finfo(shared.case.dtype).eps  # some dozens of terms of about 1
    try:
        torch.testing.assert_close(result.detach(), penalized, rtol=0, atol=0)
    except AssertionError as error:
        raise WrongResultError(f"values: {error}") from None
    try:
        torch.testing.assert_close(found.float(), gradient, rtol=tolerance, atol=tolerance)
    except AssertionError as error:
        raise WrongResultError(f"gradient: {error}") from None
