"""Thin bright curves on noise, for the recipes of this folder: images and label maps."""

import math

import torch
from torch import Tensor

IGNORE = 255


def curves(count: int, size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images ``[count, 3, size, size]`` and labels ``[count, size, size]`` (0, 1, IGNORE)."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    middle = size / 2 + size / 5 * torch.sin(x / 8 + phase)  # [count, size, size]
    labels = ((y - middle).abs() < 2).long()
    noise = 0.3 * torch.randn(count, 3, size, size, generator=generator)
    labels[:, :4] = IGNORE  # as if nobody had labelled the uppermost rows
    return (labels == 1).unsqueeze(1) + noise, labels
