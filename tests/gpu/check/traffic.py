"""Rung 3: what the kernels ask of the memory, counted in the interpreter.

    TRITON_INTERPRET=1 python -m tests.gpu.check.traffic

Elements loaded per output, and 32-byte sectors: what one program reads or writes once or many
times counts once (it finds it in its L1 cache), what two programs both read counts twice (L2 has to
deliver it twice). Counted are the launches of large images, whose marches are the longest. It says
nothing of time.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from triton.runtime import interpreter

from scnp_kernels.backends.triton import dice_ce, launch_table, operators
from scnp_kernels.rules.dice_ce import Wanted
from scnp_kernels.rules.target import Reading
from tests.gpu.check import faster_interpreter

SECTOR = 32  # bytes
# The paper's kind of images in small, a few rows and columns less than whole blocks.
SHAPES = {2: (2, 2, 251, 253), 3: (1, 2, 23, 61, 93)}
FUSED_SHAPE = (1, 2, 125, 253)  # two passes over several kernels take their time
MOST_LOADS = {
    ("forward", 2): 3.6,
    ("scatter", 2): 3.6,
    ("forward", 3): 6.2,
    ("scatter", 3): 6.2,
    ("fused forward", 2): 3.6,
    ("fused backward", 2): 2.4,
}
MOST_SECTORS = {
    ("forward", 2): 1.25,
    ("scatter", 2): 1.25,
    ("forward", 3): 2.2,
    ("scatter", 3): 1.5,
    ("fused forward", 2): 1.25,
    # Two kernels, and between them three floats for every pixel. Not a goal but what was measured
    # first (3.11) and some room: against growing further.
    ("fused backward", 2): 3.25,
}


class Traffic(NamedTuple):
    """Of one launch."""

    elements: dict[int, int]  # loaded, by the tensor's number
    sectors: int  # summed over programs, loads and stores


@contextmanager
def counted(tensors: tuple[torch.Tensor, ...]) -> Iterator[list[Traffic]]:
    """Count the loads and stores of what is launched within; ``tensors`` are told apart."""
    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    elements: dict[int, int] = defaultdict(int)
    program: list[Any] = [None]
    touched: set[int] = set()
    total = [0]
    ranges = [(t.data_ptr(), t.data_ptr() + t.untyped_storage().nbytes()) for t in tensors]

    def note(self: Any, pointers: Any, mask: Any) -> Any:
        if self.grid_idx != program[0]:
            total[0] += len(touched)
            touched.clear()
            program[0] = self.grid_idx
        at = np.asarray(pointers.data)
        chosen = at[np.broadcast_to(np.asarray(mask.data), at.shape).astype(bool)]
        touched.update(np.unique(chosen >> np.uint64(5)).tolist())
        return chosen

    def counting_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        chosen = note(self, pointers, mask)
        for number, (first, end) in enumerate(ranges):
            if chosen.size and first <= int(chosen[0]) < end:
                elements[number] += chosen.size
        return load(self, pointers, mask, *rest)

    def counting_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note(self, pointers, mask)
        return store(self, pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = counting_load, counting_store
    found: list[Traffic] = []
    try:
        yield found
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
        found.append(Traffic(dict(elements), total[0] + len(touched)))


def _shape(operation: str, dimensions: int) -> tuple[int, ...]:
    return FUSED_SHAPE if operation.startswith("fused") else SHAPES[dimensions]


def measure(operation: str, dimensions: int) -> tuple[float, float]:
    """(elements of logits or gradients per output, sectors over the least that must move)."""
    shape = _shape(operation, dimensions)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    window = (3,) * dimensions
    outputs = math.prod(shape)
    if operation == "forward":
        least = outputs * (4 + 4 + 1) + labels.numel() * 8
        with counted((logits,)) as found:
            operators.forward(
                logits, labels, None, None, window, Reading(False, 0, shape[1], None, False)
            )
    elif operation.startswith("fused"):
        reading = Reading(False, 0, shape[1], None, False)
        how = (window, reading, Wanted(True, True, False))
        least = outputs * (4 + 1) + labels.numel() * 8
        with counted((logits,)) as found:
            sums, winners = dice_ce.dice_ce_forward(logits, labels, None, None, *how)
        if operation == "fused backward":
            least += outputs * 4
            with counted((logits,)) as found:
                dice_ce.dice_ce_backward(sums, winners, logits, labels, None, *how)
    else:
        least = outputs * (4 + 1 + 4)
        winners = torch.full(shape, 3**dimensions // 2, dtype=torch.uint8)
        with counted((logits,)) as found:
            operators.scatter(logits, winners, window)
    return found[0].elements[0] / outputs, found[0].sectors * SECTOR / least


def main() -> int:
    """Count, print a table, return the number of budgets that are not kept."""
    faster_interpreter.install()
    # Such small images would get short marches: launch them as parts of large ones.
    launch_table._SHORTEST_MARCH = launch_table._LONGEST_MARCH
    print(f"triton {triton.__version__}: loads per output and sectors over the least, each <= bar")
    failed = 0
    for (operation, dimensions), most_loads in MOST_LOADS.items():
        shape = _shape(operation, dimensions)
        loads, sectors = measure(operation, dimensions)
        most = MOST_SECTORS[operation, dimensions]
        kept = loads <= most_loads and sectors <= most
        failed += not kept
        print(
            f"  {dimensions}D {operation:<14} {loads:5.2f} <= {most_loads}   "
            f"{sectors:5.3f} <= {most}   at {shape}{'' if kept else '   FAILED'}",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
