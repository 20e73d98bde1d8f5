"""Times the members of a group in turns, round by round, so that noise hits all of them alike.

One sample is one forward and backward pass on the next buffer, and a forward pass of its own
without gradients.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.kernels.cases import COPY, Case, Group
from benchmarks.kernels.implementations import BASELINES
from benchmarks.kernels.memory import least_bytes
from benchmarks.kernels.results import Record
from benchmarks.kernels.worker import ProcessWorker, Worker

SHORTEST_SAMPLE = 2e-3  # seconds: shorter calls are repeated within a sample
# After its turn, an implementation's threads look for more work for some milliseconds before they
# sleep. Nobody else is measured meanwhile.
SETTLING = 0.01  # seconds
SMALL_RESULT = 10 << 20  # bytes

StartWorker = Callable[[str, int], Worker]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    seconds: float = 2.0  # for each implementation on each case
    least_rounds: int = 5
    most_rounds: int = 60
    threads: int = 2


@dataclass
class _Subject:
    """One implementation on one case."""

    case: Case
    record: Record
    worker: Worker
    calls: int = 1  # per sample
    rounds: int = 0


def measure_group(
    group: Group,
    effort: Effort,
    say: Callable[[str], None],
    start: StartWorker = ProcessWorker,
) -> list[Record]:
    """Check, then measure everything in the group.

    Raises:
        WrongResultError: Something computes the wrong result.
        NotAvailableError: Something cannot run here.
    """
    workers: dict[tuple[object, ...], Worker] = {}
    subjects = []
    try:
        for case, name in members_and_copies(group):
            key = _process_of(case, name)
            if key not in workers:
                workers[key] = start(name, effort.threads)
            subjects.append(_Subject(case, Record.of(group.name, case, name), workers[key]))
        for subject in subjects:
            _prepare(subject, effort, say)
        _take_turns(subjects)
    finally:
        for worker in workers.values():
            worker.close()
    return [subject.record for subject in subjects]


def _process_of(case: Case, implementation: str) -> tuple[object, ...]:
    """Which cases share one: free memory of another size would serve a large result, too."""
    if case.logits * case.dtype.itemsize <= SMALL_RESULT:
        return (implementation,)
    return implementation, case.shape, case.dtype


def members_and_copies(group: Group) -> list[tuple[Case, str]]:
    """Everything in the group, and a copy of the logits for every kind of logits."""
    members, copied = [], set()
    for case, implementations in group.members:
        members += [(case, name) for name in implementations]
        logits = (case.shape, case.dtype, case.channels_last, case.threads)
        if logits not in copied:
            copied.add(logits)
            members.append((case, COPY))
    return members


def _prepare(subject: _Subject, effort: Effort, say: Callable[[str], None]) -> None:
    """Check it, and find out how often to call it."""
    case, record, begin = subject.case, subject.record, time.perf_counter()
    prepared = subject.worker.prepare(case)
    if record.implementation not in BASELINES:
        record.saved_bytes, record.peak_bytes = prepared.saved_bytes, prepared.peak_bytes
        record.least_bytes = least_bytes(case)
        say(
            f"  {case.name}, {record.implementation}: right; "
            f"saves {record.saved_per_logit:.2f}, peak {record.peak_per_logit:.2f} B per logit "
            f"({time.perf_counter() - begin:.1f} s with compilation)"
        )
    subject.calls = max(1, round(SHORTEST_SAMPLE / prepared.seconds))
    affordable = int(effort.seconds / (prepared.seconds * subject.calls))
    subject.rounds = min(effort.most_rounds, max(effort.least_rounds, affordable))


def _take_turns(subjects: list[_Subject]) -> None:
    """Every round in another order; slow subjects sit out most rounds, evenly spread."""
    rounds = max(subject.rounds for subject in subjects)
    order = random.Random(0)
    for index in range(rounds):
        for subject in order.sample(subjects, len(subjects)):
            taken = (index + 1) * subject.rounds // rounds
            if taken > index * subject.rounds // rounds:
                time.sleep(SETTLING)
                sample = subject.worker.sample(subject.case, subject.calls)
                subject.record.add(index, *sample)
