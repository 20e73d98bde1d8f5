"""Inputs on the GPU. Every call takes the next of several, which L2 does not hold together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.device import DEVICE
from benchmarks.kernels.cases import Case

INPUTS = 4
REGION = 16  # pixels along a side of the labels' regions, roughly


class Buffer:
    """One input: what a network and a dataset would hand over, and the gradient of a loss."""

    def __init__(self, case: Case, seed: int) -> None:
        generator = torch.Generator(DEVICE).manual_seed(seed)
        batch, channels, *spatial = case.shape

        def normal() -> Tensor:
            values = torch.randn(case.shape, device=DEVICE, generator=generator)
            return _laid_out(values.to(case.dtype), case)

        self.logits = normal().requires_grad_()
        coarse = (batch, 1, *(side // REGION + 2 for side in spatial))
        regions = F.interpolate(torch.rand(coarse, device=DEVICE, generator=generator), spatial)
        self.labels = (regions[:, 0] * channels).long().clamp(max=channels - 1)  # [B, *spatial]
        if not case.of_loss:
            self.incoming = normal()
            one_hot = F.one_hot(self.labels, channels).movedim(-1, 1).to(case.dtype)
            self.one_hot = _laid_out(one_hot.contiguous(), case)


def _laid_out(tensor: Tensor, case: Case) -> Tensor:
    if not case.channels_last:
        return tensor
    three = case.dimensions == 3
    layout = torch.channels_last_3d if three else torch.channels_last
    return tensor.contiguous(memory_format=layout)


def buffers_of(case: Case) -> list[Buffer]:
    """Return all inputs of a case."""
    return [Buffer(case, seed) for seed in range(INPUTS)]
