"""Compile beforehand what the measurements will compile, into the caches of triton and inductor.

Several of these run beside the tests, each with a share of the cases. What fails here fails there
too, and is told there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest

from benchmarks.gpu import device, losses, penalization
from benchmarks.gpu.cases import COPY, IMPLEMENTATIONS, SHAPES, cases, loss_cases, why_not
from benchmarks.gpu.inputs import make
from benchmarks.harness.case import Case
from benchmarks.harness.subject import Forward, gradient
from benchmarks.kernels.cases import LISTING

Compile = Callable[[], None]


def compile_share(share: int, shares: int) -> None:
    """Run each implementation of this share once."""
    for name, once in _in_order(share, shares):
        begun = time.monotonic()
        try:
            once()
        except Exception as error:  # told where it is measured
            print(f"failed    {name}: {type(error).__name__}: {error}", flush=True)
            if device.sticky_error() is not None:
                return
        else:
            print(f"compiled  {name} in {time.monotonic() - begun:.1f} s", flush=True)


def _in_order(share: int, shares: int) -> Iterator[tuple[str, Compile]]:
    """Yield this share in the order in which it is measured, the losses between."""
    shared = [islice(each, share, None, shares) for each in (_penalizations(), _losses())]
    for pair in zip_longest(*shared):
        yield from (one for one in pair if one is not None)


def _penalizations() -> Iterator[tuple[str, Compile]]:
    for case in cases(SHAPES):
        for name in IMPLEMENTATIONS:
            if name not in (COPY, LISTING) and why_not(name, case) is None:
                build = functools.partial(penalization.built, name, case)
                yield f"{case.name}, {name}", functools.partial(_once, case, build)


def _losses() -> Iterator[tuple[str, Compile]]:
    for case in loss_cases(SHAPES):
        for loss in losses.LOSSES:
            if loss.compiles:
                build = functools.partial(losses.built, loss, case)
                yield f"{case.name}, {loss.name}", functools.partial(_once, case, build)


def _once(case: Case, build: Callable[[], Forward]) -> None:
    buffer = make(case, 0)
    gradient(build()(buffer), buffer)
