"""What a run will compile, counted, and how long its stages should take.

    python -m tests.gpu.day.dry_count        needs triton, no GPU

Every launch of the tests and measurements goes as far as triton's compiler, whose door is closed:
what would go in is counted. Different kernels are those that triton itself tells apart, for sm_90.
Nothing is computed. The times per piece are measured elsewhere, as said beside them; those of the
stages are their sums over the workers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# On the CPU, by triton's kernels: nothing looks for a GPU, and no interpreter is asked for.
os.environ["SCNP_REHEARSAL"] = "interpreter"

import torch

from benchmarks.gpu import losses
from benchmarks.gpu.cases import FULL, IMPLEMENTATIONS, cases, loss_cases, why_not
from scnp_kernels import scnp, scnp_dice_ce_loss
from scnp_kernels.backends.triton import availability
from tests.calls import forward_backward
from tests.cases import CASES, DTYPES, Case
from tests.fused_loss_cases import FUSED_CASES, SPECIAL_CASES, FusedCase, outcome_of
from tests.gpu.day.stages import BUDGET, WARMING, WORKERS, Choice, Stage, stages
from tests.gpu.suite import contract, first_look, fused_loss

# Processor seconds. A kernel: 65 of them, drawn at random, compiled for sm_90 by triton 3.6 on a
# slower machine than a GPU's: 1.1 on average, 3.9 at most. A graph: torch.compile's forward and
# backward of such a loss, as inductor takes it on a GPU.
KERNEL, GRAPH = 1.1, 7.0
TWICE = 1.2  # of the kernels that two workers compile at the same time
START = 10.0  # a process: torch's import, a CUDA context, the tests' collection
CASE = 0.06  # one case on the GPU, and its brute force on the CPU
MANY_REFERENCE, FUSED_REFERENCE = 2.5, 6.0  # on average, on one core
MEASURED = 1.2  # one implementation on one case: its check, its rounds, its memory
BUILD = 90.0  # the compiled module, on 16 cores
STEPS, NCU = 35.0, 20.0  # both U-Nets, cuDNN's choice of algorithms included; ncu's passes

Kernels = set[tuple[str, str]]


@contextmanager
def counted() -> Iterator[Kernels]:
    """Yield the kernels that launches within would have compiled."""
    import triton
    from triton.backends.compiler import GPUTarget

    class Driver:
        """A driver of a GPU that is not there."""

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return device

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", 90, 32)

    found: Kernels = set()

    def closed(**told: Any) -> bool:
        found.add((told["fn"].name, told["key"]))
        return True  # "somebody else compiles it": nothing is launched

    before = availability.why_not_on
    triton.runtime.driver.set_active(Driver())
    triton.knobs.runtime.jit_cache_hook = closed
    availability.why_not_on = lambda device: None  # noqa: ARG005
    try:
        yield found
    finally:
        availability.why_not_on = before
        triton.knobs.runtime.jit_cache_hook = None


def kernels_of(launches: Iterable[Callable[[], object]]) -> Kernels:
    """Return what the launches would compile."""
    with counted() as found:
        for launch in launches:
            launch()
    return set(found)


def of_cases() -> Iterator[Callable[[], object]]:
    """The contract's cases and the large images, forward, scatter and gather."""
    for case in (*CASES, *(Case("", "", shape) for shape in contract.LARGE.values())):
        sizes = (3, 5, 7, 9) if not case.name else (None,)
        for dtype in DTYPES:
            for size in sizes:
                yield lambda c=case, d=dtype, s=size: _three_operators(c, d, s)  # type: ignore[misc]


def _three_operators(case: Case, dtype: torch.dtype, size: int | None) -> None:
    sample = case.make(dtype)
    if size is not None:
        sample.kwargs["kernel_size"] = size
    outcome = forward_backward("triton", sample, validate=False)  # as on a GPU
    if case.winners_are_numbered and size is None:
        values = torch.empty(case.shape, dtype=dtype)
        torch.ops.scnp_kernels.gather(values, outcome.winners, list(case.window), "triton")


def of_losses() -> Iterator[Callable[[], object]]:
    """The fused loss's cases."""
    for fused in (*FUSED_CASES, *SPECIAL_CASES, *fused_loss.LARGE):
        yield lambda f=fused: outcome_of("triton", f)  # type: ignore[misc]


def of_first_look() -> Iterator[Callable[[], object]]:
    """Stage a's."""
    for shape in first_look.SHAPES.values():
        for dtype in DTYPES:
            case = Case("", "", shape)
            yield lambda c=case, d=dtype: _three_operators(c, d, None)  # type: ignore[misc]
            fused = FusedCase(case, dtype, of_plain=True)
            yield lambda f=fused: outcome_of("triton", f)  # type: ignore[misc]


def of_measurements() -> Iterator[Callable[[], object]]:
    """Stage e's own, on memory that nobody writes."""
    for case in cases(FULL):
        yield lambda c=case: _penalized(c.shape, c.dtype, c.kernel_size, c.channels_last)  # type: ignore[misc]
    for case in loss_cases(FULL):
        yield lambda c=case: _lost(c.shape, c.dtype)  # type: ignore[misc]


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.empty(shape, dtype=dtype).requires_grad_()
    return logits, torch.zeros((shape[0], *shape[2:]), dtype=torch.int64)


def _penalized(shape: tuple[int, ...], dtype: torch.dtype, size: int, last: bool) -> None:
    logits, labels = _empty(shape, dtype)
    if last:
        layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        logits = logits.detach().contiguous(memory_format=layout).requires_grad_()
    scnp(logits, labels, size, validate=False, backend="triton").backward(logits.detach())


def _lost(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    logits, labels = _empty(shape, dtype)
    for scnp_weight, plain_weight in ((1, 0), (1, 1), (0, 1)):
        scnp_dice_ce_loss(
            logits, labels, scnp_weight=scnp_weight, plain_weight=plain_weight, validate=False,
            backend="triton",
        ).backward()  # fmt: skip


class Piece(NamedTuple):
    """A part of a stage's time."""

    what: str
    number: float
    seconds: float  # of the processor, each
    workers: int

    @property
    def wall(self) -> float:
        return self.number * self.seconds / self.workers


def pieces() -> dict[str, list[Piece]]:
    """Return what each stage does, by letter."""
    first, contract_ = kernels_of(of_first_look()), kernels_of(of_cases())
    fused, measured = kernels_of(of_losses()), kernels_of(of_measurements())
    in_b = (contract_ | fused) - first
    in_e = measured - contract_ - fused - first
    many = len(contract.LARGE) * 4 * len(DTYPES) - 3
    cases_of_a_backend = len(CASES) * len(DTYPES) + len(FUSED_CASES) + len(SPECIAL_CASES)
    looks = len(first_look.SHAPES) * len(DTYPES) * 4
    alone = [
        (case, name) for case in cases(FULL) for name in IMPLEMENTATIONS if not why_not(name, case)
    ]
    of_loss = len(loss_cases(FULL)) * len(losses.LOSSES)
    graphs = sum("compiled" in name for _, name in alone)
    graphs += sum("compiled" in loss.name for loss in losses.LOSSES) * len(loss_cases(FULL))
    return {
        "a": [
            Piece("start of two programs", 2, START, 1),
            Piece("Triton compilations", len(first) * TWICE, KERNEL, 6),
            Piece("cases on two backends", 2 * looks, CASE, 6),
        ],
        "b": [
            Piece("start", 1, START, 1),
            Piece("Triton compilations", len(in_b) * TWICE, KERNEL, WORKERS),
            Piece("cases", cases_of_a_backend, CASE, WORKERS),
            Piece("references of large images", many, MANY_REFERENCE, WORKERS),
            Piece("references of large losses", len(fused_loss.LARGE), FUSED_REFERENCE, WORKERS),
        ],
        "c": [
            Piece("start of two programs", 2, START, 1),
            Piece("cases on two backends", 2 * (cases_of_a_backend + looks), CASE, WORKERS),
            Piece("large images and losses, references known", many + 2 * 18, 0.3, WORKERS),
        ],
        "d": [
            Piece("start", 1, START, 1),
            Piece("torch.compile, forward and backward, of three shapes", 16, GRAPH, 6),
            Piece("the other tests", 60, 1.0, 6),
        ],
        "e": [
            Piece("start of four programs", 4, START, 1),
            Piece("Triton compilations, made ready before", len(in_e), 0.05, 1),
            Piece(
                "measured until the time is up: implementations of scnp", len(alone), MEASURED, 1
            ),
            Piece("likewise: losses", of_loss, MEASURED, 1),
            Piece("training steps", 1, STEPS, 1),
            Piece("counters", 1, NCU, 1),
        ],
        "beside b to d": [
            Piece("Triton compilations", len(in_e), KERNEL, WARMING),
            Piece("torch.compile, forward and backward", graphs, GRAPH, WARMING),
        ],
        "beside a": [Piece("the compiled module", 1, BUILD, 1)],
    }


def main() -> int:
    """Print the count; return 1 if the stages do not fit the budget."""
    table = {stage.letter: stage for stage in stages(Choice(Path(), BUDGET))}
    total = 0.0
    for letter, parts in pieces().items():
        stage: Stage | None = table.get(letter)
        print(f"stage {letter}" if stage else letter)
        for part in parts:
            print(
                f"  {part.what:<58} {part.number:7.0f} x {part.seconds:5.2f} s / {part.workers:2} "
                f"= {part.wall:6.1f} s"
            )
        wall = sum(part.wall for part in parts)
        if stage is None:
            print(f"  {'in all':<58} {wall:33.1f} s")
            continue
        # Stage e leaves out what it does not reach, the least telling last.
        taken = min(wall, stage.seconds)
        total += taken
        print(f"  {'in all; at most':<58} {wall:24.1f} s; {stage.seconds:.0f} s")
    print(f"stages a to e: {total:.0f} s of {BUDGET} s")
    return int(total > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
