"""Inputs on the GPU. Every call takes the next of several, which L2 does not hold together."""

from __future__ import annotations

import functools
import gc

from benchmarks.gpu import device
from benchmarks.harness.case import Case
from benchmarks.harness.subject import Rotation
from benchmarks.kernels.check import Expected, expected
from benchmarks.kernels.inputs import Buffer

INPUTS = 4


def make(case: Case, seed: int) -> Buffer:
    """Return one input, with the masks that the peers take ready."""
    buffer = Buffer(case, seed, device.DEVICE)
    if not case.of_loss:
        buffer.one_hot()
    return buffer


class Shared:
    """Inputs of a case and the listing's answer, made when they are first asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @functools.cached_property
    def rotation(self) -> Rotation:
        """All inputs of the case."""
        return Rotation(make(self.case, seed) for seed in range(INPUTS))

    @functools.cached_property
    def answer(self) -> Expected:
        """What the listing makes of the first."""
        return expected(self.case, self.rotation.inputs[0])

    def forget(self) -> None:
        """Give the memory back."""
        for made in ("rotation", "answer"):
            self.__dict__.pop(made, None)
        gc.collect()
        device.give_back_memory()
