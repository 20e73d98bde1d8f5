"""What is measured, the most telling first: where the time runs out, the rest is "not reached"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from benchmarks.gpu.device import REHEARSAL
from benchmarks.harness.case import Case
from benchmarks.kernels.cases import LISTING, LISTING_COMPILED, SHIFTED_COMPILED

COPY = "copy of the logits"
OURS = "scnp"
IMPLEMENTATIONS = (COPY, OURS, LISTING, LISTING_COMPILED, SHIFTED_COMPILED)
MOST_SHIFTS = 27  # comparisons that are written out one by one: more compile for minutes

WINDOWS = (3, 5, 7)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Shapes(NamedTuple):
    """The shapes of a run, by what they stand for."""

    paper_2d: tuple[int, ...]  # Appendix B of the paper
    paper_3d: tuple[int, ...]
    nnunet_2d: tuple[int, ...]  # a patch of nnU-Net's usual plans, with its batch
    nnunet_3d: tuple[int, ...]
    classes_2d: tuple[int, ...]  # more classes, for the losses
    classes_3d: tuple[int, ...]


FULL = Shapes(
    (2, 2, 1280, 1024),
    (2, 3, 160, 128, 112),
    (12, 2, 512, 512),
    (2, 3, 128, 128, 128),
    (2, 16, 512, 512),
    (1, 16, 96, 96, 96),
)
TOY = Shapes(
    (1, 2, 18, 20), (1, 3, 8, 7, 9), (2, 2, 16, 17), (1, 3, 8, 8, 8), (1, 5, 9, 8), (1, 4, 6, 5, 7)
)
SHAPES = TOY if REHEARSAL else FULL


def cases(shapes: Shapes) -> Iterator[Case]:
    """Yield every case of scnp alone, once.

    The paper's shapes first, then half types, windows, layouts, nnU-Net's patches, and last
    whatever of the full product is left.
    """
    seen = set()
    for case in _in_order(shapes):
        if case not in seen:
            seen.add(case)
            yield case


def _in_order(shapes: Shapes) -> Iterator[Case]:
    papers = [Case(shapes.paper_2d), Case(shapes.paper_3d)]
    patches = [Case(shapes.nnunet_2d), Case(shapes.nnunet_3d)]
    yield from papers
    yield from (replace(case, dtype=torch.bfloat16) for case in papers)
    yield from (replace(case, kernel_size=size) for size in WINDOWS for case in papers)
    yield from (replace(case, dtype=torch.float16) for case in papers)
    yield from (replace(case, channels_last=True) for case in papers)
    yield from patches
    yield from (replace(case, dtype=torch.bfloat16) for case in patches)
    for channels_last in (False, True):
        for dtype in DTYPES:
            for size in WINDOWS:
                for case in (*papers, *patches):
                    yield replace(case, kernel_size=size, dtype=dtype, channels_last=channels_last)


def why_not(implementation: str, case: Case) -> str | None:
    """Return None, or why this is not worth measuring on this case."""
    if implementation == SHIFTED_COMPILED and case.taps > MOST_SHIFTS:
        return f"{case.taps} comparisons take minutes to compile"
    return None


def loss_cases(shapes: Shapes) -> list[Case]:
    """Return the cases of the losses, the most telling first."""
    papers = [Case(shape, of_loss=True) for shape in (shapes.paper_2d, shapes.paper_3d)]
    patches = [Case(shape, of_loss=True) for shape in (shapes.nnunet_2d, shapes.nnunet_3d)]
    classes = [Case(shape, of_loss=True) for shape in (shapes.classes_2d, shapes.classes_3d)]
    return [
        *papers,
        *(replace(case, dtype=torch.bfloat16) for case in (*patches, *papers)),
        *classes,
        *patches,
        *(replace(case, dtype=torch.float16) for case in patches),
    ]
