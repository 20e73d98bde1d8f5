"""Times subjects in turns, round by round, so that noise hits all of them alike."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.harness.case import Case
from benchmarks.harness.processes import Elsewhere, Here, Place
from benchmarks.harness.worker import Prepare, Prepared, Sample, Worker

SHORTEST_SAMPLE = 2e-3  # seconds: shorter calls are repeated within a sample
# After its turn, a subject's threads look for more work for some milliseconds before they sleep.
# Nobody else is measured meanwhile.
SETTLING = 0.01  # seconds


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    seconds: float = 1.5  # for each subject on each case
    least_rounds: int = 5
    most_rounds: int = 60


@dataclass
class Measured:
    """One subject on one case: what is known of it, and its samples by round."""

    case: Case
    name: str
    prepared: Prepared
    preparing: float  # seconds, with compilation
    rounds: list[int] = field(default_factory=list)  # in which it was measured
    samples: list[Sample] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many make a sample."""
        return max(1, round(SHORTEST_SAMPLE / self.prepared.seconds))

    def affordable(self, effort: Effort) -> int:
        """How many rounds to take part in."""
        rounds = int(effort.seconds / (self.prepared.seconds * self.calls))
        return min(effort.most_rounds, max(effort.least_rounds, rounds))


def measure(
    members: Sequence[tuple[Case, str]],
    begin: Callable[[], Prepare],
    effort: Effort,
    threads: int,
    say: Callable[[Measured], None],
    process_of: Callable[[Case, str], Hashable] = lambda _, name: name,
    python_of: Callable[[str], str | None] = lambda _: sys.executable,
) -> list[Measured]:
    """Check everything, then measure it in turns.

    Args:
        members: Cases, each with the name of a subject.
        begin: Is called once by each worker, and tells how to prepare its subject.
        effort: How long to measure.
        threads: Of each subject, on cases that do not say.
        say: Is called with each as soon as it is found to be right.
        process_of: Members with equal keys share a worker.
        python_of: The interpreter of a subject's processes, by its name; None: this process.
    """
    workers: dict[Hashable, Place] = {}

    def started(name: str) -> Place:
        python = python_of(name)
        if python is None:
            return Here(Worker, begin, name, threads)
        return Elsewhere(name, Worker, begin, name, threads, python=python)

    try:
        for case, name in members:
            key = process_of(case, name)
            if key not in workers:
                workers[key] = started(name)
        all_measured = []
        for case, name in members:
            start = time.perf_counter()
            prepared = workers[process_of(case, name)].ask("prepare", case)
            all_measured.append(Measured(case, name, prepared, time.perf_counter() - start))
            say(all_measured[-1])
        shares = [measured.affordable(effort) for measured in all_measured]
        for index, place in turns(shares):
            measured = all_measured[place]
            time.sleep(SETTLING)
            worker = workers[process_of(measured.case, measured.name)]
            measured.rounds.append(index)
            measured.samples.append(worker.ask("sample", measured.case, measured.calls))
        return all_measured
    finally:
        for worker in workers.values():
            worker.close()


def turns(shares: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Whose turn it is: rounds, each with places into ``shares``, which say how many they take.

    Every round in another order; those of few rounds sit out most, evenly spread.

    >>> sorted(turns([4, 2]))
    [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1)]
    """
    rounds = max(shares)
    order = random.Random(0)
    for index in range(rounds):
        for place in order.sample(range(len(shares)), len(shares)):
            if (index + 1) * shares[place] // rounds > index * shares[place] // rounds:
                yield index, place
