"""One implementation in a process of its own, which measures when it is its turn.

What one implementation leaves behind in a process would change the time of another. Free memory
above all: it serves the next call without page faults, and some of it in huge pages.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import torch

from benchmarks.kernels.cases import Case
from benchmarks.kernels.check import WrongResultError, check, check_loss, expected
from benchmarks.kernels.implementations import (
    BASELINES,
    NotAvailableError,
    Run,
    build,
)
from benchmarks.kernels.inputs import Inputs
from benchmarks.kernels.memory import peak_of_tensors, saved_for_backward

LONG_CALL = 1.0  # seconds
LARGEST_KEPT = (32 << 20) - (1 << 16)  # bytes: what is larger always comes fresh
WAKING = 1 << 20  # values: enough to give every thread something to do


class Sample(NamedTuple):
    """Seconds per call."""

    forward: float  # no gradient wanted
    recording: float  # forward that remembers what backward needs
    both: float  # that, and backward


class Prepared(NamedTuple):
    """What is known of an implementation on a case before it is measured."""

    saved_bytes: int | None  # None: a baseline
    peak_bytes: int | None
    seconds: float  # roughly, for what a sample takes


class Worker(Protocol):
    """Measures one implementation."""

    def prepare(self, case: Case) -> Prepared:
        """Check the result, take memory, warm up."""

    def sample(self, case: Case, calls: int) -> Sample:
        """The mean of some calls, one right after the other."""

    def close(self) -> None:
        """Let go of everything."""


class LocalWorker:
    """In this process."""

    def __init__(self, implementation: str, threads: int) -> None:
        self._implementation = implementation
        self._threads = threads
        self._inputs = Inputs()
        self._runs: dict[Case, Run] = {}
        self._waking = torch.zeros(WAKING)
        # A young process gives memory back to the system at once, and gets it anew with page
        # faults; after freeing something of this size, the GNU C library keeps as much as it ever
        # will, as in any training that has run for a while.
        torch.empty(LARGEST_KEPT, dtype=torch.uint8)

    def prepare(self, case: Case) -> Prepared:
        """Check the result, take memory, warm up."""
        torch.set_num_threads(case.threads or self._threads)
        name, run = self._implementation, build(self._implementation, case)
        self._runs[case] = run
        saved = peak = None
        if name not in BASELINES:
            buffer = self._inputs.first(case)
            if case.of_loss:
                check_loss(name, case, run, buffer)
            else:
                check(name, case, run, buffer, expected(case, buffer))
            saved, peak = saved_for_backward(run, buffer), peak_of_tensors(run, buffer)
        with torch.no_grad():
            for buffer in self._inputs.all(case):  # makes what they make when first asked
                run(buffer)
        seconds = _duration(self.sample(case, 1))
        if seconds < LONG_CALL:  # what the first call pays once would count
            seconds = _duration(self.sample(case, 1))
        return Prepared(saved, peak, seconds)

    def sample(self, case: Case, calls: int) -> Sample:
        """The mean of some calls, one right after the other."""
        torch.set_num_threads(case.threads or self._threads)
        gc.disable()
        try:
            self._waking.add_(1)  # threads sleep while others have their turn
            if self._implementation in BASELINES:
                alone = self._time_alone(case, calls)
                return Sample(alone, alone, alone)
            recording, both = self._time_both(case, calls)
            with torch.no_grad():
                return Sample(self._time_alone(case, calls), recording, both)
        finally:
            gc.enable()

    def _time_both(self, case: Case, calls: int) -> tuple[float, float]:
        """Results are allocated by every call and freed within its time, as in training."""
        run = self._runs[case]
        buffers = [self._inputs.next(case) for _ in range(calls)]
        results, gradients = [], []
        start = time.perf_counter()
        for buffer in buffers:
            results.append(run(buffer))
        middle = time.perf_counter()
        for buffer, result in zip(buffers, results, strict=True):
            gradients.append(torch.autograd.grad(result, buffer.logits, buffer.incoming))
        del result
        results.clear()
        gradients.clear()
        end = time.perf_counter()
        return (middle - start) / calls, (end - start) / calls

    def _time_alone(self, case: Case, calls: int) -> float:
        run = self._runs[case]
        buffers = [self._inputs.next(case) for _ in range(calls)]
        start = time.perf_counter()
        for buffer in buffers:
            run(buffer)
        return (time.perf_counter() - start) / calls

    def close(self) -> None:
        """Let go of everything."""
        self._runs.clear()
        self._inputs = Inputs()


class ProcessWorker:
    """In a process of its own."""

    def __init__(self, implementation: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share its memory
        self._name = implementation
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, implementation, threads), daemon=True
        )
        self._process.start()
        other.close()

    def prepare(self, case: Case) -> Prepared:
        """Check the result, take memory, warm up."""
        prepared: Prepared = self._ask("prepare", case)
        return prepared

    def sample(self, case: Case, calls: int) -> Sample:
        """The mean of some calls, one right after the other."""
        sample: Sample = self._ask("sample", case, calls)
        return sample

    def close(self) -> None:
        """Let go of everything."""
        self._connection.close()  # it ends when it reads the end of the connection
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, question: str, *arguments: object) -> Any:
        try:
            self._connection.send((question, arguments))
            answer = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"the process of {self._name} ended with status {code}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection: Connection, implementation: str, threads: int) -> None:
    """The process: answers until nobody asks any more."""
    worker = LocalWorker(implementation, threads)
    while True:
        try:
            question, arguments = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer = getattr(worker, question)(*arguments)
        except (WrongResultError, NotAvailableError) as error:
            answer = error
        except Exception:  # whatever it is, the process that asked has to know
            answer = RuntimeError(f"{implementation}: {traceback.format_exc()}")
        connection.send(answer)


def _duration(sample: Sample) -> float:
    """Seconds that a sample of one call takes."""
    return sample.forward + sample.both
