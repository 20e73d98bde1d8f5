"""Every case, every implementation, every phase, for pytest-benchmark.

    pytest benchmarks --benchmark-only                    all of it; takes long
    SCNP_BENCH=quick pytest benchmarks --benchmark-only   does it work? Tiny shapes, few peers

Nothing here asserts a time. For figures to compare, `make bench` measures in turns instead of
one after the other.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.kernels.cases import COPY, FULL, LISTING_COMPILED, QUICK, Case, all_cases
from benchmarks.kernels.check import check, expected
from benchmarks.kernels.implementations import Run, build, implementations, why_not
from benchmarks.kernels.inputs import Inputs
from benchmarks.kernels.memory import least_bytes, peak_of_tensors, saved_for_backward
from benchmarks.kernels.results import BACKWARD, BOTH, FORWARD, PHASES, RECORDING

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


@functools.lru_cache(maxsize=1)  # one case's at a time: they are large
def _inputs(case: Case) -> Inputs:
    inputs = Inputs()
    for buffer in inputs.all(case):  # what they make when first asked would be timed
        buffer.target(case.target), buffer.one_hot(), buffer.destination
    return inputs


@functools.lru_cache(maxsize=1)
def _checked(case: Case, name: str) -> tuple[Run, dict[str, float]]:
    """What to time, once it computed the right result; and its memory."""
    if "compiled" in name:
        torch.compiler.reset()
    torch.set_num_threads(case.threads or THREADS)
    buffer, run = _inputs(case).first(case), build(name, case)
    check(name, case, run, buffer, expected(case, buffer))
    return run, {
        "saved_bytes_per_logit": saved_for_backward(run, buffer) / case.logits,
        "peak_bytes_per_logit": peak_of_tensors(run, buffer) / case.logits,
    }


@functools.lru_cache(maxsize=1)
def _seconds_of_a_copy(case: Case) -> float:
    copy, inputs = build(COPY, case), _inputs(case)
    return median(_seconds(lambda: copy(inputs.next(case))) for _ in range(COPIES))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _phase(phase: str, run: Run, inputs: Inputs, case: Case) -> tuple[Any, Any]:
    """What to time, and what prepares its arguments while no clock runs."""

    def forward(buffer: Any) -> Tensor:
        with torch.set_grad_enabled(phase != FORWARD):
            return run(buffer)

    def backward(buffer: Any, penalized: Tensor) -> Tensor:
        gradient: Tensor = torch.autograd.grad(penalized, buffer.logits, buffer.incoming)[0]
        return gradient

    def both(buffer: Any) -> Tensor:
        return backward(buffer, run(buffer))

    def next_buffer() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (inputs.next(case),), {}

    def next_forward() -> tuple[tuple[Any, ...], dict[str, Any]]:
        buffer = inputs.next(case)
        return (buffer, run(buffer)), {}

    return {
        FORWARD: (forward, next_buffer),
        RECORDING: (forward, next_buffer),
        BACKWARD: (backward, next_forward),
        BOTH: (both, next_buffer),
    }[phase]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("case", "implementation"), list(_pairs()))
def test_kernel(benchmark: Any, case: Case, implementation: str, phase: str) -> None:
    run, memory = _checked(case, implementation)
    inputs, threads = _inputs(case), torch.get_num_threads()
    torch.set_num_threads(case.threads or THREADS)
    call, setup = _phase(phase, run, inputs, case)
    arguments, _ = setup()
    rough = _seconds(lambda: call(*arguments))
    rounds = 3 if IS_QUICK else min(30, max(3, int(SECONDS / rough)))
    copy = _seconds_of_a_copy(case)

    benchmark.group = f"{case.name}, {PHASES[phase]}"
    benchmark.pedantic(call, setup=setup, rounds=rounds, warmup_rounds=1)

    torch.set_num_threads(threads)
    forward_bytes, backward_bytes = least_bytes(case)
    moved = {BACKWARD: backward_bytes, BOTH: forward_bytes + backward_bytes}
    benchmark.extra_info.update(memory, phase=phase, implementation=implementation, case=case.name)
    benchmark.extra_info["bytes_moved_at_least"] = moved.get(phase, forward_bytes)
    if benchmark.stats is not None:  # None with --benchmark-disable
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["gb_per_s"] = moved.get(phase, forward_bytes) / seconds / 1e9
        benchmark.extra_info["ratio_to_copy"] = seconds / copy
