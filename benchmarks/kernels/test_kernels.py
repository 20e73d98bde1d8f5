"""Every case, every implementation, every phase, for pytest-benchmark.

    pytest benchmarks --benchmark-only                    all of it; takes long
    SCNP_BENCH=quick pytest benchmarks --benchmark-only   does it work? Tiny shapes, few peers

Nothing here asserts a time. For figures to compare, `make bench` measures in turns instead of
one after the other.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.harness.case import Case
from benchmarks.harness.clocks import Clock
from benchmarks.harness.subject import Subject, gradient
from benchmarks.kernels.cases import COPY, FULL, LISTING_COMPILED, QUICK, all_cases
from benchmarks.kernels.implementations import implementations, why_not
from benchmarks.kernels.machine import past_cache_bytes
from benchmarks.kernels.measure import Kernels
from benchmarks.kernels.results import BACKWARD, BOTH, FORWARD, PHASES

VARIABLE = "SCNP_BENCH"
IS_QUICK = os.environ.get(VARIABLE, "full") == "quick"
THREADS = 2
SECONDS = 1.0  # of measuring, for each benchmark
COPIES = 11
QUICK_STEP = 3  # a third of the cases will do


def _pairs() -> Iterator[Any]:
    cases = all_cases(QUICK)[::QUICK_STEP] if IS_QUICK else all_cases(FULL)
    cases = tuple(case for case in cases if not case.of_loss)  # `make bench` has those
    for case in cases:
        for name in implementations():
            reason = why_not(name, case)
            compiles = "compiled" in name
            if IS_QUICK and compiles and (name, case) != (LISTING_COMPILED, cases[0]):
                reason = "compilation takes long"
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            yield pytest.param(case, name, id=f"{case.name}-{name.replace(' ', '_')}", marks=marks)


@functools.lru_cache(maxsize=1)  # one case's inputs at a time: they are large
def _kernels(_case: Case) -> Kernels:
    return Kernels(past_cache_bytes())


@functools.lru_cache(maxsize=1)
def _checked(case: Case, name: str) -> Subject:
    """What to time, once it computed the right result."""
    if "compiled" in name:
        torch.compiler.reset()
    torch.set_num_threads(case.threads or THREADS)
    return _kernels(case)(name, case)


@functools.lru_cache(maxsize=1)
def _seconds_of_a_copy(case: Case) -> float:
    copy, clock = _kernels(case)(COPY, case), Clock()
    return median(copy.seconds_forward(clock) for _ in range(COPIES))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("case", "implementation"), list(_pairs()))
def test_kernel(benchmark: Any, case: Case, implementation: str, phase: str) -> None:
    subject, threads = _checked(case, implementation), torch.get_num_threads()
    torch.set_num_threads(case.threads or THREADS)

    def prepared() -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, while no clock runs: backward gets what forward left."""
        (given,) = subject.rotation.take()
        return (given, subject.forward(given) if phase == BACKWARD else None), {}

    def call(given: Any, result: Tensor | None) -> Tensor:
        with torch.set_grad_enabled(phase != FORWARD):
            result = subject.forward(given) if result is None else result
        return gradient(result, given) if phase in (BACKWARD, BOTH) else result

    clock = Clock()
    rough = sum(subject.seconds_both(clock))
    rounds = 3 if IS_QUICK else min(30, max(3, int(SECONDS / rough)))
    copy = _seconds_of_a_copy(case)

    benchmark.group = f"{case.name}, {PHASES[phase]}"
    benchmark.pedantic(call, setup=prepared, rounds=rounds, warmup_rounds=1)

    torch.set_num_threads(threads)
    forward_bytes, backward_bytes = subject.facts["least_bytes"]
    moved = {BACKWARD: backward_bytes, BOTH: forward_bytes + backward_bytes}
    benchmark.extra_info.update(phase=phase, implementation=implementation, case=case.name)
    for name in ("saved_bytes", "peak_bytes"):
        benchmark.extra_info[f"{name}_per_logit"] = subject.facts[name] / case.logits
    benchmark.extra_info["bytes_moved_at_least"] = moved.get(phase, forward_bytes)
    if benchmark.stats is not None:  # None with --benchmark-disable
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["gb_per_s"] = moved.get(phase, forward_bytes) / seconds / 1e9
        benchmark.extra_info["ratio_to_copy"] = seconds / copy
