"""Trains for many steps and measures memory: ``python -m tests.stress.long_life --steps 20000``.

    every step      another shape, window, dtype and kind of target, in turn
    now and then    labels out of range, whose error is caught; a graph that is thrown away
    at the end      resident memory, and the tensors that Python holds, against a quarter of the way

Prints one line of JSON. A process of its own, since what others leave behind would blur the figure.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from scnp_kernels import SCNPDiceCELoss, SCNPLoss
from tests.generators import seeded

SHAPES: tuple[tuple[int, ...], ...] = ((2, 3, 37), (1, 3, 24, 17), (2, 3, 16, 16), (1, 3, 5, 9, 8))
WINDOWS = (3, 5, 3, 7, 31)  # as many as no other period divides
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
# The allocator's own play: arenas of threads, pages half used.
MOST_GROWTH = 8 * 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def living_tensors() -> int:
    # What one collection ends can hold on to more, as compiled graphs of other tests do.
    for _ in range(10):
        if gc.collect() == 0:
            break
    # By type: asking an object for its class wakes lazy ones, some of which warn.
    return sum(issubclass(type(value), Tensor) for value in gc.get_objects())


class Trainer:
    """One weight and one bias per class, on inputs of every shape."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.ones(3))
        self.bias = nn.Parameter(torch.zeros(3))
        self.optimizer = torch.optim.Adam([self.weight, self.bias], lr=1e-3)
        self.generator = seeded(0)
        self.refused = 0

    def logits(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        values = torch.randn(shape, generator=self.generator)
        per_class = (1, 3, *[1] * (len(shape) - 2))
        return (values * self.weight.view(per_class) + self.bias.view(per_class)).to(dtype)

    def step(self, number: int) -> float:
        shape = SHAPES[number % len(SHAPES)]
        window = WINDOWS[number % len(WINDOWS)]
        logits = self.logits(shape, DTYPES[number % len(DTYPES)])
        target = torch.randint(0, 3, (shape[0], *shape[2:]), generator=self.generator)
        if number % 2:
            criterion: nn.Module = SCNPLoss(nn.CrossEntropyLoss(), window, plain_weight=1.0)
        else:
            criterion = SCNPDiceCELoss(window, ignore_index=2)
        if number % 7 == 0:
            self.refuse(criterion, logits, target)
        loss: Tensor = criterion(logits, target)
        if number % 11 == 0:
            return loss.item()  # a graph that nobody goes back through
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def refuse(self, criterion: nn.Module, logits: Tensor, target: Tensor) -> None:
        wrong = target.clone()
        wrong.view(-1)[-1] = 3
        try:
            criterion(logits, wrong)
        except ValueError:
            self.refused += 1


def train(steps: int) -> dict[str, float]:
    """What it took, and what grew between a quarter of the way and the end."""
    trainer = Trainer()
    started = time.monotonic()
    memory = tensors = 0
    finite = True
    for number in range(steps):
        if number == steps // 4:
            memory, tensors = resident_bytes(), living_tensors()
        loss = trainer.step(number)
        finite = finite and abs(loss) < 1e6
    return {
        "steps": steps,
        "grown_bytes": resident_bytes() - memory,
        "grown_tensors": living_tensors() - tensors,
        "refused": trainer.refused,
        "finite": finite,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = train(arguments.steps)
    print(json.dumps(result), flush=True)
    good = (
        result["grown_bytes"] <= MOST_GROWTH and result["grown_tensors"] <= 0 and result["finite"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
