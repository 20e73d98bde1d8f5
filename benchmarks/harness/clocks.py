"""Clocks: they are started, note marks, and tell the seconds between these."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch

# Keeps the GPU busy for a millisecond or two, while Python launches what is measured: the time
# between the events is then that of the kernels, not of the launches.
_HOLDING_CYCLES = 3_000_000


class Clock:
    """The clock on the wall, for what runs on the CPU. One sample at a time."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def start(self) -> None:
        """Begin anew, with the first mark."""
        self._marks = [time.perf_counter()]

    def mark(self) -> None:
        """Note the time."""
        self._marks.append(time.perf_counter())

    def laps(self) -> list[float]:
        """Return the seconds from each mark to the next."""
        return [later - earlier for earlier, later in pairwise(self._marks)]

    def launching(self) -> float:
        """Return the seconds that Python took from the first mark to the last."""
        return self._marks[-1] - self._marks[0]


class GpuClock(Clock):
    """CUDA events: a mark is the time at which the GPU gets there.

    ``hold``: let the GPU wait until what follows the start has been launched.
    """

    def __init__(self, hold: bool = True) -> None:
        super().__init__()
        self._hold = hold
        self._events: list[Any] = []

    def start(self) -> None:
        """Begin anew, with the first mark."""
        self._events = []
        if self._hold:
            torch.cuda._sleep(_HOLDING_CYCLES)
        super().start()
        self._record()

    def mark(self) -> None:
        """Note the time."""
        self._record()
        super().mark()

    def laps(self) -> list[float]:
        """Wait for the GPU; return the seconds from each mark to the next."""
        torch.cuda.synchronize()
        pairs = pairwise(self._events)
        return [earlier.elapsed_time(later) / 1e3 for earlier, later in pairs]

    def _record(self) -> None:
        self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[-1].record()
