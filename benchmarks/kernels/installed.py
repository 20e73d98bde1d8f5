"""Times one installation of scnp_kernels: the process behind :mod:`benchmarks.kernels.compare`.

It is run as a file by the interpreter of that installation, so that ``scnp_kernels`` is the one
installed there, and needs nothing but it and torch. It reads one JSON object per line and answers
with one: first a case is prepared, then samples of it are taken.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scnp_kernels import scnp, scnp_dice_ce_loss

ROTATED = 96 << 20  # bytes of logits that calls rotate through: more than a last-level cache
MOST_BUFFERS = 48
REGION = 16  # pixels along a side of the labels' regions, roughly


class Subject:
    """One case, prepared: inputs that take turns, and what is called on them."""

    def __init__(self, case: dict[str, Any]) -> None:
        torch.set_num_threads(case["threads"])
        shape, dtype = tuple(case["shape"]), getattr(torch, case["dtype"])
        loss: bool = case["loss"]
        generator = torch.Generator().manual_seed(0)
        size = math.prod(shape) * dtype.itemsize
        count = max(2, min(MOST_BUFFERS, -(-ROTATED // size)))
        self.buffers = []
        for _ in range(count):
            logits = _laid_out(torch.randn(shape, generator=generator), dtype, case)
            incoming = (
                torch.ones(())
                if loss
                else _laid_out(torch.randn(shape, generator=generator), dtype, case)
            )
            self.buffers.append((logits.requires_grad_(), _labels(shape, generator), incoming))
        self.next = 0
        window: int = case["kernel_size"]
        self.run: Callable[[Tensor, Tensor], Tensor]
        if loss:
            self.run = lambda z, y: scnp_dice_ce_loss(z, y, window, backend="cpu")
        else:
            self.run = lambda z, y: scnp(z, y, window, backend="cpu")

    def sample(self, calls: int) -> dict[str, float]:
        """Seconds of a forward pass alone, and of forward and backward, means of some calls."""
        gc.disable()
        with torch.no_grad():
            begin = time.perf_counter()
            for logits, labels, _ in self._take(calls):
                self.run(logits, labels)
            forward = (time.perf_counter() - begin) / calls
        begin = time.perf_counter()
        for logits, labels, incoming in self._take(calls):
            torch.autograd.grad(self.run(logits, labels), logits, incoming)
        both = (time.perf_counter() - begin) / calls
        gc.enable()
        return {"forward": forward, "both": both}

    def digest(self) -> str:
        """What the first buffer gives, bit for bit: two builds must agree before they are timed."""
        import hashlib

        logits, labels, incoming = self.buffers[0]
        result = self.run(logits, labels)
        (gradient,) = torch.autograd.grad(result, logits, incoming)
        digest = hashlib.sha256()
        for value in (result.detach(), gradient):
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _take(self, calls: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        taken = [self.buffers[(self.next + i) % len(self.buffers)] for i in range(calls)]
        self.next = (self.next + calls) % len(self.buffers)
        return taken


def _laid_out(values: Tensor, dtype: torch.dtype, case: dict[str, Any]) -> Tensor:
    values = values.to(dtype)
    if not case["channels_last"]:
        return values
    layout = torch.channels_last_3d if values.dim() == 5 else torch.channels_last
    return values.contiguous(memory_format=layout)


def _labels(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Labels ``[B, *spatial]`` in smooth regions, as segmentations have them."""
    batch, channels, *spatial = shape
    coarse = [-(-side // REGION) + 1 for side in spatial]
    noise = torch.randn((batch, max(channels, 2), *coarse), generator=generator)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(spatial)]
    return F.interpolate(noise, spatial, mode=mode, align_corners=True).argmax(1)


def main() -> None:
    """Answer until nobody asks any more."""
    subject: Subject | None = None
    for line in sys.stdin:
        question = json.loads(line)
        if "case" in question:
            subject = Subject(question["case"])
            subject.sample(2)
            answer: dict[str, Any] = {"digest": subject.digest(), **subject.sample(1)}
        else:
            assert subject is not None
            answer = subject.sample(question["calls"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
