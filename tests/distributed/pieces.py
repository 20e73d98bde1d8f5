"""Tensors cut as DTensor cuts them, without any communication and without its help."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.placement_types import Placement

REPLICATE = Replicate()


def piece(whole: Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> Tensor:
    """This process's part of what every process has: a view."""
    coordinate = mesh.get_coordinate()
    assert coordinate is not None
    part = whole
    for at, count, placement in zip(coordinate, mesh.shape, placements, strict=True):
        if isinstance(placement, Shard):
            size = part.shape[placement.dim]
            chunk = (size + count - 1) // count
            begin = min(at * chunk, size)
            part = part.narrow(placement.dim, begin, min(chunk, size - begin))
    return part


def place(whole: Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> DTensor:
    """A DTensor of what every process has."""
    return DTensor.from_local(
        piece(whole, mesh, placements).detach(),
        mesh,
        placements,
        shape=whole.shape,
        stride=whole.stride(),
    )


def of_map(placements: Sequence[Placement], logits: Tensor, value: Tensor) -> list[Placement]:
    """Where a target or mask lies when the logits lie there."""
    if value.dim() == logits.dim() and value.shape[1] == logits.shape[1]:
        return list(placements)
    shift = logits.dim() - value.dim()
    wanted: list[Placement] = []
    for placement in placements:
        if not isinstance(placement, Shard) or placement.dim == 1:
            wanted.append(REPLICATE)
        else:
            wanted.append(Shard(placement.dim - shift if placement.dim > 1 else 0))
    return wanted


def assert_local(actual: Tensor, expected: Tensor, placements: Sequence[Placement]) -> None:
    """A DTensor placed so holds its part of what is expected, bit for bit (-0 equals +0)."""
    assert isinstance(actual, DTensor)
    assert tuple(actual.placements) == tuple(placements)
    assert actual.shape == expected.shape
    torch.testing.assert_close(
        actual.to_local(),
        piece(expected, actual.device_mesh, placements),
        rtol=0,
        atol=0,
        equal_nan=True,
    )
