"""What one iteration of a loss costs: forward and backward, from given logits, on the CPU.

Each loss has a process of its own, for all shapes, and they take turns: what one leaves behind in
memory, or a busy moment, does not change the comparison.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks.common.this_process import ThisProcess
from benchmarks.kernels.memory import peak_of
from benchmarks.kernels.peers import listing
from benchmarks.topology.losses import LOSSES, penalized
from benchmarks.topology.losses.segmentation_loss import one_hot
from scnp_kernels import SCNPDiceCELoss

ON_LISTING = "listing"
ON_SCNP = "scnp"
FUSED = "SCNPDiceCELoss"
SCNP_FORMS = (ON_LISTING, ON_SCNP, FUSED)  # CE+Dice on SCNP logits
SUBJECTS = (*LOSSES, *SCNP_FORMS)

DONE = 1.0  # progress: TopoLoss's own term counts
REGION = 16  # pixels along a side of the structures, roughly
SHARPNESS = 6.0
DISAGREEMENT = 0.3  # of the logits with the labels
EXAMPLES = 2  # take turns, so that one call does not find its input in the cache
LEAST_ROUNDS, MOST_ROUNDS = 3, 15

Shape = tuple[int, ...]  # [B, C, *spatial]


@dataclass(frozen=True)
class Example:
    """Logits as a trained network gives them: smooth, sure of most pixels, wrong at some."""

    logits: Tensor  # [B, C, *spatial]
    label_map: Tensor  # [B, *spatial]
    masks: Tensor  # [B, C, *spatial], one-hot floats: the listing takes them ready


Iteration = Callable[[Example], Tensor]


@dataclass
class Cost:
    """One loss on one shape."""

    subject: str
    shape: Shape
    tensors: int  # bytes: the most that torch's allocator had handed out at once
    arrays: int  # bytes: likewise of NumPy, in losses that compute in it
    seconds: list[float] = field(default_factory=list)

    def milliseconds(self) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile."""
        low, middle, high = quantiles([1e3 * second for second in self.seconds], n=4)
        return low, middle, high


def example(shape: Shape, seed: int) -> Example:
    """Logits and labels of a shape, always the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    spatial = shape[2:]
    coarse = [side // REGION + 2 for side in spatial]
    mode = {2: "bilinear", 3: "trilinear"}[len(spatial)]

    def smooth() -> Tensor:
        noise = torch.randn((*shape[:2], *coarse), generator=generator)
        return functional.interpolate(noise, spatial, mode=mode, align_corners=True)

    truth = smooth()
    label_map = truth.argmax(1)
    logits = SHARPNESS * (truth + DISAGREEMENT * smooth())
    masks = one_hot(label_map, shape[1]).to(logits.dtype)
    return Example(logits.requires_grad_(), label_map, masks)


def iteration(subject: str, shape: Shape, kernel_size: int) -> Iteration:
    """The forward pass of one of SUBJECTS, to a scalar."""
    classes, dimensions = shape[1], len(shape) - 2
    if subject == FUSED:
        fused = SCNPDiceCELoss(kernel_size=kernel_size)
        return lambda given: fused(given.logits, given.label_map)
    if subject not in SCNP_FORMS:
        plain = LOSSES[subject](classes, dimensions)
        return lambda given: plain(given.logits, given.label_map, DONE)
    ce_dice = LOSSES["ce_dice"](classes, dimensions)
    if subject == ON_SCNP:
        on_scnp = penalized(ce_dice, "on", kernel_size)
        return lambda given: on_scnp(given.logits, given.label_map, DONE)
    return lambda given: ce_dice(
        listing(given.logits, given.masks, kernel_size), given.label_map, DONE
    )


def measure(
    shapes: Sequence[Shape],
    subjects: Sequence[str],
    kernel_size: int,
    seconds: float,
    threads: int,
    own_processes: bool,
    say: Callable[[str], None],
) -> list[Cost]:
    """The cost of every subject on every shape; ``seconds`` of measuring for each, roughly."""
    executors = {
        subject: _executor(own_processes, (shapes, subject, kernel_size, threads))
        for subject in subjects
    }
    try:
        costs = []
        for shape in shapes:
            costs += _measure_shape(shape, executors, seconds, say)
        return costs
    finally:
        for executor in executors.values():
            executor.shutdown()


def _measure_shape(
    shape: Shape, executors: dict[str, Executor], seconds: float, say: Callable[[str], None]
) -> list[Cost]:
    costs, rounds = [], {}
    for subject, executor in executors.items():
        first = executor.submit(_seconds, shape, subject).result()  # pays what is paid once
        tensors, arrays = executor.submit(_memory, shape, subject).result()
        costs.append(Cost(subject, shape, tensors, arrays))
        rounds[subject] = min(MOST_ROUNDS, max(LEAST_ROUNDS, int(seconds / first)))
        say(f"  {'x'.join(map(str, shape))}, {subject}: {first:.2f} s at first")
    order = random.Random(0)
    for index in range(max(rounds.values())):
        for cost in order.sample(costs, len(costs)):
            if index < rounds[cost.subject]:
                sample = executors[cost.subject].submit(_seconds, shape, cost.subject)
                cost.seconds.append(sample.result())
    return costs


def _executor(own_process: bool, arguments: tuple[Any, ...]) -> Executor:
    if not own_process:
        _prepare(*arguments)
        return ThisProcess()
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, _prepare, arguments)


# What a process keeps between calls: the examples of a shape, and the losses by shape and name.
_examples: dict[Shape, list[Example]] = {}
_iterations: dict[tuple[Shape, str], Iteration] = {}


def _prepare(shapes: Sequence[Shape], subject: str, kernel_size: int, threads: int) -> None:
    torch.set_num_threads(threads)
    for shape in shapes:
        _iterations[shape, subject] = iteration(subject, shape, kernel_size)


def _next_example(shape: Shape) -> Example:
    if shape not in _examples:
        _examples.clear()  # of the shape before
        _examples[shape] = [example(shape, seed) for seed in range(EXAMPLES)]
    _examples[shape].append(_examples[shape].pop(0))
    return _examples[shape][0]


def _run(shape: Shape, subject: str, given: Example) -> None:
    torch.autograd.grad(_iterations[shape, subject](given), given.logits)


def _seconds(shape: Shape, subject: str) -> float:
    """Of one iteration."""
    given = _next_example(shape)
    gc.disable()
    try:
        start = time.perf_counter()
        _run(shape, subject, given)
        return time.perf_counter() - start
    finally:
        gc.enable()


def _memory(shape: Shape, subject: str) -> tuple[int, int]:
    """The most bytes of tensors, and of arrays, at once in an iteration, beyond its input."""
    given = _next_example(shape)
    tracemalloc.start()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            tracemalloc.reset_peak()
            held, _ = tracemalloc.get_traced_memory()  # by the profiler
            _run(shape, subject, given)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak_of(profiler), peak - held
