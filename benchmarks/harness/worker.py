"""One subject by its name: prepares its cases, and takes samples when it is its turn."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from math import nan
from typing import Any, NamedTuple

import torch

from benchmarks.harness.case import Case
from benchmarks.harness.clocks import Clock
from benchmarks.harness.subject import Subject

LONG_CALL = 1.0  # seconds
LARGEST_KEPT = (32 << 20) - (1 << 16)  # bytes: what is larger always comes fresh
WAKING = 1 << 20  # values: enough to give every thread something to do


class Sample(NamedTuple):
    """Seconds per call."""

    forward: float  # no gradient wanted; nan where that is not asked
    recording: float  # forward that remembers what backward needs
    both: float  # that, and backward


class Prepared(NamedTuple):
    """What is known of a subject on a case before it is measured."""

    facts: Mapping[str, Any]
    seconds: float  # roughly, for what a sample takes


Prepare = Callable[[str, Case], Subject]  # of a subject's name and a case


class Worker:
    """Measures one subject; ``begin`` is called once and tells how to prepare it."""

    def __init__(self, begin: Callable[[], Prepare], name: str, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._prepare = begin()
        self._subjects: dict[Case, Subject] = {}
        self._clock = Clock()
        self._waking = torch.zeros(WAKING)
        # A young process gives memory back to the system at once, and gets it anew with page
        # faults; after freeing something of this size, the GNU C library keeps as much as it ever
        # will, as in any training that has run for a while.
        torch.empty(LARGEST_KEPT, dtype=torch.uint8)

    def prepare(self, case: Case) -> Prepared:
        """Check the result, take memory, warm up."""
        torch.set_num_threads(case.threads or self._threads)
        subject = self._subjects[case] = self._prepare(self._name, case)
        seconds = self._duration(case)
        if seconds < LONG_CALL:  # what the first call pays once would count
            seconds = self._duration(case)
        return Prepared(subject.facts, seconds)

    def sample(self, case: Case, calls: int) -> Sample:
        """The mean of some calls, one right after the other."""
        torch.set_num_threads(case.threads or self._threads)
        subject = self._subjects[case]
        gc.disable()
        try:
            self._waking.add_(1)  # threads sleep while others have their turn
            if subject.backward is None:
                alone = subject.seconds_forward(self._clock, calls)
                return Sample(alone, alone, alone)
            recording, backward = subject.seconds_both(self._clock, calls)
            alone = subject.seconds_forward(self._clock, calls) if subject.alone else nan
            return Sample(alone, recording, recording + backward)
        finally:
            gc.enable()

    def _duration(self, case: Case) -> float:
        sample = self.sample(case, 1)
        return sample.both + (sample.forward if self._subjects[case].alone else 0)
