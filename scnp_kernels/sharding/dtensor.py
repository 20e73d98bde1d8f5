"""SCNP on DTensors, which :func:`scnp_kernels.scnp` and the losses hand on to this module.

    logits sharded on   what happens
    the batch           every process penalizes its images; nothing is exchanged
    channels            every process penalizes its classes; nothing is exchanged
    a spatial axis      shards borrow ``window // 2`` slices from their neighbours, forward and
                        backward (:mod:`scnp_kernels.sharding.halo`)
    (replicated)        every process penalizes all of it

Results and gradients equal those of the whole tensor bit for bit. Different mesh dimensions may
shard different axes. Target, mask and gate are brought to the placements of the logits, which
costs nothing where they lie there already, or are replicated.

Nothing here is imported from ``torch.distributed.tensor`` before a DTensor is met. A sharding rule
for the operator would not do: channels need a class offset that differs from rank to rank, which
no rule can hand on.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..autograd import dice_ce as dice_ce_autograd
from ..autograd import penalize as autograd
from ..rules.arguments import Arguments
from ..rules.dice_ce import STATISTICS, Wanted, statistics_dtype

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.placement_types import Placement

    from .halo import ShardedAxis

_BATCH, _CHANNELS = 0, 1


class Sharding(NamedTuple):
    """How the logits lie on the mesh."""

    mesh: DeviceMesh
    placements: tuple[Placement, ...]
    shape: torch.Size  # of the whole logits
    stride: tuple[int, ...]  # of a whole result
    axes: tuple[ShardedAxis, ...]  # those that need a halo


def are_dtensors(logits: object, target: object, mask: object = None, gate: object = None) -> bool:
    """Return False for ordinary tensors, True for DTensors; raise for some of each.

    Raises:
        TypeError: One is a DTensor and another is not.
    """
    given = {"logits": logits, "target": target}
    if mask is not None:
        given["mask"] = mask
    if gate is not None:
        given["gate"] = gate
    if all(type(value) is Tensor for value in given.values()):
        return False
    module = sys.modules.get("torch.distributed.tensor")
    if module is None or not any(isinstance(value, module.DTensor) for value in given.values()):
        return False
    for name, value in given.items():
        if not isinstance(value, module.DTensor):
            raise TypeError(
                f"{name}: got {type(value).__name__} beside a DTensor, takes a DTensor on the same "
                "mesh (torch.distributed.tensor.distribute_tensor, or DTensor.from_local)"
            )
    return True


def check_same_for_all_channels(on_mesh: bool) -> None:
    """Raise for DTensors whose valid pixels differ from channel to channel."""
    if on_mesh:
        raise ValueError(
            "mask: got a DTensor of the shape of logits, takes [B, *spatial] or [B, 1, *spatial] "
            "there; valid pixels that differ by channel need ordinary tensors"
        )


def averages_over_shards(value: Tensor) -> bool:
    """Return whether a mean over pixels of this value would be a mean of its shards' means.

    So it is for torch's cross entropy of sharded DTensors before torch 2.14 (pytorch#185167).
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14):
        return False
    module = sys.modules.get("torch.distributed.tensor")
    if type(value) is Tensor or module is None or not isinstance(value, module.DTensor):
        return False
    return any(placement.is_shard() for placement in value.placements)


def penalize(arguments: Arguments, backend: str) -> Tensor:
    """Return the penalized logits of checked arguments that are DTensors, placed as they are.

    Raises:
        ValueError: The tensors lie on different meshes, or are placed as SCNP cannot take them.
    """
    local, sharding = to_local(arguments)
    return to_global(penalize_local(local, sharding, backend), sharding)


def to_local(arguments: Arguments) -> tuple[Arguments, Sharding]:
    """Return this process's part of the arguments, and how the whole is sharded.

    Raises:
        ValueError: As :func:`penalize`.
    """
    logits: Any = arguments.logits
    mesh: DeviceMesh = logits.device_mesh
    placements = _check_placements(logits)
    dimensions = logits.dim()
    target = _placed_as(placements, "target", arguments.target, mesh, dimensions)
    mask = arguments.mask
    if mask is not None:
        mask = _placed_as(placements, "mask", mask, mesh, dimensions)
    gate = arguments.gate
    if gate is not None:
        gate = _placed_as(placements, "gate", gate, mesh, dimensions)
    shard: Tensor = logits.to_local()
    like_result = torch.empty_strided(logits.shape, logits.stride(), device="meta")
    first_class, axes = arguments.reading.first_class, []
    if mesh.get_coordinate() is not None:
        expected = [shard.shape[_BATCH], *logits.shape[1:]]
        for mesh_dimension, axis in _sharded_axes(placements):
            if axis == _BATCH:
                continue
            cut = _axis_of(
                mesh, mesh_dimension, axis - dimensions, logits.shape[axis], arguments.kernel_size
            )
            begin, end = cut.bounds(cut.shard)
            expected[axis] = end - begin
            if axis == _CHANNELS:
                first_class += begin
            elif cut.halo > 0:
                axes.append(cut)
        if list(shard.shape) != expected:
            raise ValueError(
                f"logits: got a DTensor of shape {tuple(logits.shape)} placed as {placements}, "
                f"whose local tensor is {tuple(shard.shape)}, takes {tuple(expected)} there (a "
                "shard as torch.chunk cuts; DTensor.from_local needs the whole shape where they "
                "differ)"
            )
    reading = arguments.reading._replace(first_class=first_class)
    local = arguments._replace(logits=shard, target=target, mask=mask, gate=gate, reading=reading)
    sharding = Sharding(
        mesh, placements, logits.shape, torch.empty_like(like_result).stride(), tuple(axes)
    )
    return local, sharding


def penalize_local(local: Arguments, sharding: Sharding, backend: str) -> Tensor:
    """Return this process's part of the penalized logits; differentiable, across shards too."""
    if sharding.mesh.get_coordinate() is None:
        return local.logits  # outside the mesh: no part of anything
    if not sharding.axes:
        return autograd.penalize(local, backend)
    from .halo import penalize_shard

    penalized: Tensor = penalize_shard(local, backend, sharding.axes)
    return penalized


def to_global(local: Tensor, sharding: Sharding) -> DTensor:
    """Return the DTensor of the whole, made of every process's part."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        local, sharding.mesh, sharding.placements, shape=sharding.shape, stride=sharding.stride
    )


def replicated_like(like: Tensor, value: Tensor) -> DTensor:
    """Return a DTensor of a value that every process has, on the mesh of another one."""
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(like, DTensor)
    mesh = like.device_mesh
    return DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim)


def gathered(value: Tensor) -> Tensor:
    """Return the whole of a DTensor, on every process; an ordinary tensor as it is."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def dice_ce_statistics(arguments: Arguments, wanted: Wanted, backend: str) -> Tensor:
    """Return the statistics ``[2, 6, B, C]`` of the whole logits, on every process.

    Raises:
        ValueError: As :func:`penalize`, and for softmax over sharded channels.
    """
    local, sharding = to_local(arguments)
    channels_are_cut = any(axis == _CHANNELS for _, axis in _sharded_axes(sharding.placements))
    if wanted.softmax and channels_are_cut:
        raise ValueError(
            f"logits: got the placements {sharding.placements} with softmax, which needs all "
            'channels of a pixel; takes sharded channels with activation="sigmoid"'
        )
    if sharding.axes and wanted.of_penalized:
        # Only the shard's interior counts, not the halo: no kernel penalizes and sums up at once.
        unchecked = local._replace(reading=local.reading._replace(validate=False))
        as_plain = wanted._replace(of_penalized=False, of_plain=True)
        penalized = unchecked._replace(logits=penalize_local(local, sharding, backend))
        statistics = _local_statistics(penalized, as_plain, backend)[1]
        plain = torch.zeros_like(statistics)
        if wanted.of_plain:
            plain = _local_statistics(unchecked, as_plain, backend)[1]
        statistics = torch.stack((statistics, plain))
    else:
        statistics = _local_statistics(local, wanted, backend)
    return _total_over_mesh(statistics, sharding)


def _local_statistics(local: Arguments, wanted: Wanted, backend: str) -> Tensor:
    if local.logits.numel() > 0:
        return dice_ce_autograd.dice_ce_statistics(local, wanted, backend)
    nothing = local.logits.sum(dtype=statistics_dtype(local.logits))  # 0, and a part of the graph
    return nothing.expand(2, STATISTICS, *local.logits.shape[:2])


def _total_over_mesh(statistics: Tensor, sharding: Sharding) -> Tensor:
    """Return the statistics ``[2, 6, B, C]`` of all shards, on every process; differentiable.

    Shards of the batch and of channels are put side by side, those of space added up.
    """
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    if sharding.mesh.get_coordinate() is None:
        return statistics.new_zeros((*statistics.shape[:2], *sharding.shape[:2]))
    everywhere = [Replicate()] * sharding.mesh.ndim
    placements: list[Placement] = [*everywhere]
    for mesh_dimension, axis in _sharded_axes(sharding.placements):
        placements[mesh_dimension] = Shard(axis + 2) if axis <= _CHANNELS else Partial()
    shape = torch.Size((*statistics.shape[:2], *sharding.shape[:2]))
    stride = torch.empty(shape, device="meta").stride()
    parts = DTensor.from_local(
        statistics.contiguous(), sharding.mesh, placements, shape=shape, stride=stride
    )
    total: Tensor = parts.redistribute(placements=everywhere).to_local()
    return total


def _check_placements(logits: DTensor) -> tuple[Placement, ...]:
    """Return the placements; raise where SCNP cannot take them."""
    takes = "takes Replicate or Shard, at most one mesh dimension per channel or spatial axis"
    placements: tuple[Placement, ...] = logits.placements
    for mesh_dimension, placement in enumerate(placements):
        if not _is_plain(placement):
            raise ValueError(
                f"logits: got the placement {placement!r} on mesh dimension "
                f"{_name(logits.device_mesh, mesh_dimension)}, {takes} (DTensor.redistribute "
                "brings it there)"
            )
    counts = Counter(axis for _, axis in _sharded_axes(placements))
    for axis, count in counts.items():
        if count > 1 and axis != _BATCH:
            raise ValueError(
                f"logits: got the placements {tuple(placements)}, axis {axis} sharded by {count} "
                f"mesh dimensions, {takes} (DTensor.redistribute brings it there)"
            )
    return placements


def _placed_as(
    placements: Sequence[Placement], name: str, value: Tensor, mesh: DeviceMesh, dimensions: int
) -> Tensor:
    """Return the part of the target, mask or gate that belongs to this process's logits."""
    from torch.distributed.tensor import Replicate, Shard

    given: Any = value
    if given.device_mesh != mesh:
        raise ValueError(
            f"{name}: got a DTensor on {given.device_mesh}, takes the mesh of logits, {mesh}"
        )
    for placement in given.placements:
        if not _is_plain(placement):
            raise ValueError(
                f"{name}: got the placement {placement!r}, takes Replicate or Shard "
                "(DTensor.redistribute brings it there)"
            )
    wanted: list[Placement] = [Replicate()] * len(placements)
    without_channels = value.dim() < dimensions
    for mesh_dimension, axis in _sharded_axes(placements):
        if axis == _BATCH or not without_channels:
            wanted[mesh_dimension] = Shard(axis)
        elif axis > _CHANNELS:
            wanted[mesh_dimension] = Shard(axis - 1)
    local: Tensor = given.redistribute(placements=wanted).to_local()
    return local


def _is_plain(placement: Placement) -> bool:
    """Return whether it is Replicate or Shard; their relatives mean something else."""
    from torch.distributed.tensor import Replicate, Shard

    return type(placement) is Replicate or type(placement) is Shard


def _sharded_axes(placements: Sequence[Placement]) -> list[tuple[int, int]]:
    """(dimension of the mesh, axis of the logits) of every Shard."""
    return [
        (mesh_dimension, placement.dim)  # type: ignore[attr-defined]
        for mesh_dimension, placement in enumerate(placements)
        if placement.is_shard()
    ]


def _axis_of(
    mesh: DeviceMesh, mesh_dimension: int, axis: int, size: int, kernel_size: Sequence[int]
) -> ShardedAxis:
    """Return the cut along an axis of the logits, counted from the last."""
    from torch import distributed

    from .halo import ShardedAxis

    coordinate = mesh.get_coordinate()
    assert coordinate is not None
    line: list[int | slice] = [*coordinate]
    line[mesh_dimension] = slice(None)
    group = mesh.get_group(mesh_dimension)
    ranks = mesh.mesh[tuple(line)].tolist()
    return ShardedAxis(
        axis=axis,
        size=size,
        halo=kernel_size[axis] // 2 if axis >= -len(kernel_size) else 0,
        group=group,
        ranks=tuple(distributed.get_group_rank(group, rank) for rank in ranks),
        shard=coordinate[mesh_dimension],
    )


def _name(mesh: DeviceMesh, mesh_dimension: int) -> str:
    names = mesh.mesh_dim_names
    return f"{mesh_dimension}" if names is None else f"{names[mesh_dimension]!r}"
