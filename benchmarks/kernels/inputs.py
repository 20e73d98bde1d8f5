"""Inputs, so many of each kind that they do not stay in the cache."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.case import BOOL_MASKS, FLOAT_MASKS, LABELS, Case
from benchmarks.harness.subject import Rotation

REGION = 16  # pixels along a side of the labels' regions, roughly
MOST_BUFFERS = 64


class Buffer:
    """One input: what a network and a dataset would hand over, and the gradient of a loss."""

    def __init__(self, case: Case, seed: int, device: str | torch.device = "cpu") -> None:
        generator = torch.Generator(device).manual_seed(seed)
        self.case = case

        def normal() -> Tensor:
            values = torch.randn(case.shape, device=device, generator=generator)
            return self._laid_out(values.to(case.dtype))

        self.logits = normal().requires_grad_()  # [B, C, *spatial]
        # A loss is one number.
        self.incoming = torch.ones((), device=device) if case.of_loss else normal()
        self.labels = _regions(case.shape, generator)  # [B, *spatial] int64
        self.gate = self.labels != 0  # [B, *spatial] bool: background keeps its own logits
        self._masks: dict[torch.dtype, Tensor] = {}

    @functools.cached_property
    def destination(self) -> Tensor:
        """Where a copy of the logits goes."""
        return torch.zeros_like(self.logits, requires_grad=False)

    def _laid_out(self, values: Tensor) -> Tensor:
        if not self.case.channels_last:
            return values
        three = self.case.dimensions == 3
        layout = torch.channels_last_3d if three else torch.channels_last
        return values.contiguous(memory_format=layout)

    def one_hot(self) -> Tensor:
        """The masks that the peers multiply with."""
        return self.masks(self.case.dtype)

    def held(self) -> list[Tensor]:
        """All that the caller holds anyway: logits, labels, gate and the masks made so far."""
        return [self.logits, self.labels, self.gate, *self._masks.values()]

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
    size = (batch, max(channels, 2), *coarse)
    noise = torch.randn(size, device=generator.device, generator=generator)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(spatial)]
    return F.interpolate(noise, spatial, mode=mode, align_corners=True).argmax(1)


class Inputs:
    """The buffers of every case, made when they are first asked for.

    As many as it takes for their logits alone to be ``past_cache`` bytes. Not so for small images,
    which stay in the cache: with them the question is what a call costs.
    """

    def __init__(self, past_cache: int) -> None:
        self._past_cache = past_cache
        self._rotations: dict[tuple[object, ...], Rotation] = {}

    def of(self, case: Case) -> Rotation:
        """Cases that differ in the window, the kind of target or the threads share theirs."""
        key = case.shape, case.dtype, case.channels_last, case.of_loss
        if key not in self._rotations:
            needed = math.ceil(self._past_cache / (case.logits * case.dtype.itemsize))
            count = min(MOST_BUFFERS, max(2, needed))
            self._rotations[key] = Rotation(Buffer(case, seed) for seed in range(count))
        return self._rotations[key]
