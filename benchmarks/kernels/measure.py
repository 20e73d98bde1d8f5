"""The kernels and their peers as subjects: checked, with their memory, and measured by group."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks.harness.case import Case, least_bytes
from benchmarks.harness.memory import peak_of_tensors, saved_for_backward
from benchmarks.harness.subject import Subject, gradient
from benchmarks.harness.turns import Effort, Measured, measure
from benchmarks.kernels import library_peers, loss_peers
from benchmarks.kernels.cases import (
    COPY,
    FUSED,
    FUSED_FOCAL,
    FUSED_JOINT,
    FUSED_PLAIN,
    FUSED_TVERSKY,
    LOSSES_WITHOUT_SCNP,
    OPENCV,
    OURS,
    OURS_GATED,
    Group,
)
from benchmarks.kernels.check import check, check_loss, check_planes, expected
from benchmarks.kernels.implementations import BASELINES, OURS_PREFIX, build
from benchmarks.kernels.inputs import Inputs
from benchmarks.kernels.results import Record

SMALL_RESULT = 10 << 20  # bytes
LOSS_TOLERANCE = 1e-5  # of float32, which the peers add up in


class Kernels:
    """Prepares implementations, each on inputs that all of its cases share."""

    def __init__(self, past_cache: int) -> None:
        self.inputs = Inputs(past_cache)

    def __call__(self, name: str, case: Case) -> Subject:
        """Raises SubjectError where an implementation is wrong, or cannot run here."""
        rotation, run = self.inputs.of(case), build(name, case)
        with torch.no_grad():
            for given in rotation.inputs:  # makes what they make when first asked
                run(given)
        if name in BASELINES:
            return Subject(run, rotation, backward=None)
        buffer, about = rotation.inputs[0], f"{name} on {case.name}"
        if name == OPENCV:
            check_planes(about, run(buffer), buffer)
            return Subject(run, rotation, backward=None)
        if case.of_loss:
            check_loss(about, run, buffer, exact_loss(name, case), LOSS_TOLERANCE)
        else:
            # What goes straight through is a window's middle tap to ours, and autograd's last term.
            gated = name == OURS_GATED
            ours = name.startswith(OURS_PREFIX)
            answer = expected(case, buffer, gated)
            check(about, run, buffer, answer, bitwise=ours and not gated)
        facts = {
            "saved_bytes": saved_for_backward(run, buffer, buffer.held()),
            "peak_bytes": peak_of_tensors(run, buffer),
            "least_bytes": least_bytes(case),
        }
        return Subject(run, rotation, facts=facts)


class Installed:
    """Prepares our own implementations, whatever they compute."""

    def __init__(self, past_cache: int) -> None:
        self._inputs = Inputs(past_cache)

    def __call__(self, _name: str, case: Case) -> Subject:
        """What the first buffer gives, bit for bit, is among the facts."""
        rotation, run = self._inputs.of(case), build(FUSED if case.of_loss else OURS, case)
        result = run(rotation.inputs[0])
        digest = hashlib.sha256()
        for value in (result.detach(), gradient(result, rotation.inputs[0])):
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return Subject(run, rotation, facts={"digest": digest.hexdigest()})


def exact_loss(name: str, case: Case) -> loss_peers.Loss:
    """The composition that a loss of this name has to agree with."""
    formulas: dict[str, loss_peers.Loss] = {
        FUSED_TVERSKY: loss_peers.tversky,
        FUSED_FOCAL: loss_peers.focal,
    }
    formula = formulas.get(name, loss_peers.dice_ce)
    plain = name in (*LOSSES_WITHOUT_SCNP, FUSED_PLAIN)
    return loss_peers.sum_of_terms(
        formula, not plain, plain or name == FUSED_JOINT, case.kernel_size
    )


def measure_group(
    group: Group,
    effort: Effort,
    threads: int,
    past_cache: int,
    say: Callable[[str], None],
    own_processes: bool = True,
) -> list[Record]:
    """Check, then measure everything in the group; raises SubjectError."""
    python = sys.executable if own_processes else None
    for name, reason in missing_peers(group).items():
        say(f"  {name}: not measured, {reason}")

    def told(measured: Measured) -> None:
        if measured.name not in BASELINES:
            record = Record.of(group.name, measured)
            memory = f"saves {record.saved_per_logit:.2f}, peak {record.peak_per_logit:.2f}"
            say(
                f"  {measured.case.name}, {measured.name}: right"
                f"{f'; {memory} B per logit' if record.has_gradient else ''} "
                f"({measured.preparing:.1f} s with compilation)"
            )

    found = measure(
        members_and_copies(group),
        partial(Kernels, past_cache),
        effort,
        threads,
        told,
        process_of=_process_of,
        python_of=lambda _: python,
    )
    return [Record.of(group.name, measured) for measured in found]


def _process_of(case: Case, implementation: str) -> tuple[object, ...]:
    """Which cases share one: free memory of another size would serve a large result, too."""
    if case.logits * case.dtype.itemsize <= SMALL_RESULT:
        return (implementation,)
    return implementation, case.shape, case.dtype


def missing_peers(group: Group) -> dict[str, str]:
    """The peers of a group that are not installed, and what each lacks."""
    names = dict.fromkeys(name for _, names in group.members for name in names)
    found = {name: library_peers.missing(name) for name in names}
    return {name: reason for name, reason in found.items() if reason is not None}


def members_and_copies(group: Group) -> Sequence[tuple[Case, str]]:
    """All of the group that is installed, and a copy of the logits for every kind of logits."""
    members, copied = [], set()
    missing = missing_peers(group)
    for case, implementations in group.members:
        members += [(case, name) for name in implementations if name not in missing]
        logits = (case.shape, case.dtype, case.channels_last, case.threads)
        if logits not in copied:
            copied.add(logits)
            members.append((case, COPY))
    return members
