"""What one iteration of a loss costs: forward and backward, from given logits, on the CPU."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.harness import turns
from benchmarks.harness.case import Case
from benchmarks.harness.memory import allocations, peak_of
from benchmarks.harness.subject import Forward, Rotation, Subject, gradient
from benchmarks.harness.turns import Effort, Measured
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
    incoming: Tensor = field(default_factory=lambda: torch.ones(()))  # a loss is one number


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


def iteration(subject: str, shape: Shape, kernel_size: int) -> Forward:
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


class Losses:
    """Prepares losses; ``kernel_size`` is SCNP's."""

    def __init__(self, kernel_size: int) -> None:
        self._kernel_size = kernel_size
        self._rotations: dict[Shape, Rotation] = {}

    def __call__(self, name: str, case: Case) -> Subject:
        """One of SUBJECTS on one shape. Its memory is among the facts."""
        if case.shape not in self._rotations:
            self._rotations[case.shape] = Rotation(example(case.shape, s) for s in range(EXAMPLES))
        rotation = self._rotations[case.shape]
        forward = iteration(name, case.shape, self._kernel_size)
        gradient(forward(rotation.inputs[0]), rotation.inputs[0])  # pays what is paid once
        return Subject(forward, rotation, alone=False, facts=_memory(forward, rotation.inputs[1]))


def measure(
    shape: Shape,
    subjects: Sequence[str],
    kernel_size: int,
    seconds: float,
    threads: int,
    own_processes: bool,
    say: Callable[[str], None],
) -> list[Measured]:
    """The cost of every subject on a shape; ``seconds`` of measuring for each, roughly.

    Each has a process of its own, and they take turns.
    """
    python = sys.executable if own_processes else None
    case = Case(shape, kernel_size, of_loss=True)
    return turns.measure(
        [(case, subject) for subject in subjects],
        partial(Losses, kernel_size),
        Effort(seconds, LEAST_ROUNDS, MOST_ROUNDS),
        threads,
        lambda one: say(f"  {case.name}, {one.name}: prepared in {one.preparing:.2f} s"),
        python_of=lambda _: python,
    )


def _memory(forward: Forward, given: Example) -> dict[str, int]:
    """The most bytes at once in an iteration, beyond its input, by what holds them.

    ``tensors``: of torch's allocator; ``arrays``: of NumPy, in losses that compute in it.
    """
    tracemalloc.start()
    try:
        with allocations() as profiler:
            tracemalloc.reset_peak()
            held, _ = tracemalloc.get_traced_memory()  # by the profiler
            gradient(forward(given), given)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {"tensors": peak_of(profiler), "arrays": peak - held}
