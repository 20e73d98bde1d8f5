"""The GPU; or, in a rehearsal, what stands for it on a machine that has none.

``SCNP_REHEARSAL`` names what runs in the place of the Triton kernels: ``reference``, or
``interpreter``, Triton's own. Everything then runs on the CPU: its clock stands for events, a CUDA
graph is a function that is called again, and there are no figures of memory. The compiled CPU
kernels, where there are any, stand for the CUDA kernels. A rehearsal's times mean nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

import scnp_kernels
from benchmarks.harness.clocks import Clock, GpuClock

REHEARSAL = os.environ.get("SCNP_REHEARSAL", "")
DEVICE = torch.device("cpu" if REHEARSAL else "cuda")
BACKENDS = ("triton", "cuda", "reference")  # all that should run on a GPU
# torch.compile's own compiler would compile C++ in a rehearsal, for minutes.
COMPILER = "aot_eager" if REHEARSAL else "inductor"


def backend_of(name: str) -> str:
    """Return the backend that runs under this name: itself, or its stand-in in a rehearsal."""
    if not REHEARSAL or name == "reference":
        return name
    if name == "triton":
        return "triton" if REHEARSAL == "interpreter" else "reference"
    return "cpu" if scnp_kernels.backends()["cpu"] == "ok" else "reference"


def clock(hold: bool = True) -> Clock:
    """Return what tells the time; with ``hold`` the GPU waits for the launches first."""
    return Clock() if REHEARSAL else GpuClock(hold)


def synchronize() -> None:
    """Wait for the GPU."""
    if not REHEARSAL:
        torch.cuda.synchronize()


def requested_bytes() -> int:
    """Return the bytes of the tensors alive on the GPU, without the allocator's rounding."""
    return 0 if REHEARSAL else int(torch.cuda.memory_stats()["requested_bytes.all.current"])


def peak_of_requested_bytes() -> int:
    """Return the most bytes that were alive at once since :func:`reset_peak`."""
    return 0 if REHEARSAL else int(torch.cuda.memory_stats()["requested_bytes.all.peak"])


def reset_peak() -> None:
    """Begin to look for the peak anew."""
    if not REHEARSAL:
        torch.cuda.reset_peak_memory_stats()


def free_bytes() -> int:
    """Return how much memory is free on the GPU."""
    return 2**40 if REHEARSAL else int(torch.cuda.mem_get_info()[0])


def give_back_memory() -> None:
    """Return what torch keeps of freed memory to the GPU."""
    if not REHEARSAL:
        torch.cuda.empty_cache()


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Whatever waits for the GPU within is an error."""
    if REHEARSAL:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def captured(function: Callable[[], tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], Any]:
    """Capture a function in a CUDA graph; return its results and what replays it into them."""
    if REHEARSAL:
        results = tuple(tensor.detach().clone() for tensor in function())

        def replay() -> None:
            for result, again in zip(results, function(), strict=True):
                result.copy_(again.detach())

        return results, replay
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function()  # compiles, outside of the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function()
    return results, graph.replay


def autocast(dtype: torch.dtype) -> Any:
    """Mixed precision for half types, as in a training; nothing for the others."""
    halves = (torch.float16, torch.bfloat16)
    return torch.autocast(DEVICE.type, dtype) if dtype in halves else nullcontext()


_planted: list[str] = []  # in a rehearsal: the sticky error of this process, if any


def plant_sticky_error(message: str) -> None:
    """In a rehearsal: from now on the device of this process answers with an error only."""
    if not REHEARSAL:
        raise AssertionError("errors are planted in rehearsals only")
    _planted.append(message)


def sticky_error() -> str | None:
    """Return None while the GPU answers this process, else what it says at every call by now.

    After an illegal access every later call of the process fails, whatever it asks for: only a new
    process goes on.
    """
    if REHEARSAL:
        return _planted[0] if _planted else None
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device=DEVICE).item()
    except RuntimeError as error:
        return str(error)
    return None
