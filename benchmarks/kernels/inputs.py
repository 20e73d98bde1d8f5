"""Inputs that do not stay in the cache: every call takes the next of several buffers."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels.cases import BOOL_MASKS, FLOAT_MASKS, LABELS, Case
from benchmarks.kernels.machine import last_level_cache_bytes

REGION = 16  # pixels along a side of the labels' regions, roughly
MOST_BUFFERS = 64


class Buffer:
    """One input: what a network and a dataset would hand over, and the gradient of a loss."""

    def __init__(self, case: Case, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.case = case
        self.logits = self._laid_out(torch.randn(case.shape, generator=generator))
        self.logits.requires_grad_()  # [B, C, *spatial]
        if case.of_loss:
            self.incoming = torch.ones(())  # a loss is one number
        else:
            self.incoming = self._laid_out(torch.randn(case.shape, generator=generator))
        self.labels = _regions(case.shape, generator)  # [B, *spatial] int64
        self._masks: dict[torch.dtype, Tensor] = {}

    @functools.cached_property
    def destination(self) -> Tensor:
        """Where a copy of the logits goes."""
        return torch.zeros_like(self.logits, requires_grad=False)

    def _laid_out(self, values: Tensor) -> Tensor:
        values = values.to(self.case.dtype)
        if not self.case.channels_last:
            return values
        three = self.case.dimensions == 3
        layout = torch.channels_last_3d if three else torch.channels_last
        return values.contiguous(memory_format=layout)

    def one_hot(self) -> Tensor:
        """The masks that the peers multiply with."""
        return self.masks(self.case.dtype)

    def made_masks(self) -> list[Tensor]:
        """Those made so far."""
        return list(self._masks.values())

    def target(self, kind: str) -> Tensor:
        """What scnp_kernels is given."""
        if kind == LABELS:
            return self.labels
        return self.masks({FLOAT_MASKS: self.case.dtype, BOOL_MASKS: torch.bool}[kind])

    def masks(self, dtype: torch.dtype) -> Tensor:
        """The labels as one mask per channel, [B, C, *spatial]; made once."""
        if dtype not in self._masks:
            channels = self.case.shape[1]
            first = 1 if channels == 1 else 0
            masks = [(self.labels == first + c).to(dtype) for c in range(channels)]
            stacked = torch.empty_like(self.logits, dtype=dtype, requires_grad=False)
            self._masks[dtype] = stacked.copy_(torch.stack(masks, 1))
        return self._masks[dtype]


def _regions(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Labels in smooth regions, as segmentations have them."""
    batch, channels, *spatial = shape
    coarse = [math.ceil(side / REGION) + 1 for side in spatial]
    noise = torch.randn((batch, max(channels, 2), *coarse), generator=generator)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(spatial)]
    return F.interpolate(noise, spatial, mode=mode, align_corners=True).argmax(1)


class Inputs:
    """The buffers of every case, made when they are first asked for."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[object, ...], list[Buffer]] = {}
        self._next: dict[tuple[object, ...], int] = {}

    def next(self, case: Case) -> Buffer:
        """The buffer that was not used for the longest time, whoever used it."""
        buffers, key = self._of(case), _key(case)
        self._next[key] = (self._next[key] + 1) % len(buffers)
        return buffers[self._next[key]]

    def first(self, case: Case) -> Buffer:
        """Always the same one."""
        return self._of(case)[0]

    def all(self, case: Case) -> list[Buffer]:
        """In the order of their use."""
        return self._of(case)

    def _of(self, case: Case) -> list[Buffer]:
        key = _key(case)
        if key not in self._buffers:
            count = buffer_count(case)
            self._buffers[key] = [Buffer(case, seed) for seed in range(count)]
            self._next[key] = 0
        return self._buffers[key]


def _key(case: Case) -> tuple[object, ...]:
    """Cases that differ in the window, the kind of target or the threads share their buffers."""
    return case.shape, case.dtype, case.channels_last, case.of_loss


def buffer_count(case: Case) -> int:
    """As many as it takes for their logits alone to fill the last-level cache twice.

    Not so for small images, which stay in it: with them the question is what a call costs.
    """
    past_cache = math.ceil(2 * last_level_cache_bytes() / (case.logits * case.dtype.itemsize))
    return min(MOST_BUFFERS, max(2, past_cache))
