"""What is measured: a pass forward on the inputs of a case, and its pass backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.clocks import Clock


class SubjectError(Exception):
    """A subject cannot be measured; the message says why."""


class WrongResultError(SubjectError):
    """It computes something else than it should: its time would mean nothing."""


Forward = Callable[[Any], Tensor]  # of an input
Backward = Callable[[Tensor, Any], Tensor]  # of the result and the input: the gradient


def gradient(result: Tensor, given: Any) -> Tensor:
    """The gradient of the input's ``logits``, for its ``incoming`` gradient."""
    found: Tensor = torch.autograd.grad(result, given.logits, given.incoming)[0]
    return found


class Rotation:
    """Inputs that take turns, so that a call does not find its own in the cache."""

    def __init__(self, inputs: Iterable[Any]) -> None:
        self.inputs = list(inputs)
        self._last = 0

    def take(self, count: int = 1) -> list[Any]:
        """Those that were not used for the longest time, whoever used them."""
        taken = []
        for _ in range(count):
            self._last = (self._last + 1) % len(self.inputs)
            taken.append(self.inputs[self._last])
        return taken


@dataclass(frozen=True)
class Subject:
    """One implementation on one case, checked."""

    forward: Forward
    rotation: Rotation
    backward: Backward | None = gradient  # None: there is nothing to differentiate
    alone: bool = True  # whether the pass forward that wants no gradient is timed, too
    facts: Mapping[str, Any] = field(default_factory=dict)  # what else is known of it

    def seconds_forward(self, clock: Clock, calls: int = 1) -> float:
        """Of a call that wants no gradient; the mean of some, one right after the other."""
        inputs = self.rotation.take(calls)
        with torch.no_grad():
            clock.start()
            for given in inputs:
                self.forward(given)
            clock.mark()
        return clock.laps()[0] / calls

    def seconds_both(self, clock: Clock, calls: int = 1) -> tuple[float, float]:
        """Of a pass forward that remembers, and of the pass backward after it; likewise means.

        Results are allocated by every call and freed within the time, as in training.
        """
        assert self.backward is not None
        inputs = self.rotation.take(calls)
        results, gradients = [], []
        clock.start()
        for given in inputs:
            results.append(self.forward(given))
        clock.mark()
        for given, result in zip(inputs, results, strict=True):
            gradients.append(self.backward(result, given))
        del result
        results.clear()
        gradients.clear()
        clock.mark()
        forward, backward = clock.laps()
        return forward / calls, backward / calls
