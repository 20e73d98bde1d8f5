"""Promise: sharded on any axis, every case of the contract is the whole one, bit for bit.

Images here are a few pixels wide: shards are uneven, empty, and thinner than the halo.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from scnp_kernels import scnp
from tests.calls import assert_same
from tests.cases import CASES, DTYPES, Case, expected
from tests.distributed.group import Group
from tests.distributed.pieces import assert_local, of_map, piece, place
from tests.oracle import brute_force_gradient

SMALL = [case for case in CASES if not case.large]
SPATIAL = ("outer", "middle", "inner")


def _axis(name: str, case: Case) -> int | None:
    """An axis of the case's logits; spatial ones are named from the last."""
    axis = {"batch": 0, "channels": 1, "outer": -3, "middle": -2, "inner": -1}[name]
    axis += len(case.shape) if axis < 0 else 0
    return None if name in SPATIAL and axis < 2 else axis


def check_case(case: Case, dtype: torch.dtype, axis: int, mesh: DeviceMesh) -> None:
    """Penalized logits, winners and gradients of the oracle, part by part."""
    sample = case.make(dtype)
    placements = [Shard(axis)]
    logits = place(sample.logits, mesh, placements).requires_grad_()
    target = place(sample.target, mesh, of_map(placements, sample.logits, sample.target))
    kwargs = dict(sample.kwargs)
    mask = sample.kwargs["mask"]
    if mask is not None:
        kwargs["mask"] = place(mask, mesh, of_map(placements, sample.logits, mask))
    gate = sample.kwargs.get("gate")
    if gate is not None:
        kwargs["gate"] = place(gate, mesh, of_map(placements, sample.logits, gate))
    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        penalized = scnp(logits, target, **kwargs)  # type: ignore[arg-type]
    incoming = place(sample.incoming, mesh, placements)
    (gradient,) = torch.autograd.grad(penalized, logits, incoming)

    wanted = expected(case, dtype)
    assert_local(penalized.detach(), wanted.penalized, placements)
    (winners,) = saved
    if case.winners_are_numbered:
        assert_same(winners.long(), piece(wanted.winners, mesh, placements))
        wanted_gradient = brute_force_gradient(sample.incoming, wanted.winners, case.kernel_size)
        assert_local(gradient, wanted_gradient, placements)
    else:
        whole = sample.logits.detach().requires_grad_()
        result = scnp(whole, sample.target, **sample.kwargs)
        (whole_gradient,) = torch.autograd.grad(result, whole, sample.incoming)
        assert_local(gradient, whole_gradient, placements)
    own = piece(sample.logits, mesh, placements)
    assert isinstance(penalized, DTensor)
    assert _steps(penalized.to_local()) == _steps(torch.empty_like(own))
    assert _steps(penalized) == _steps(torch.empty_like(sample.logits))


def _steps(value: Tensor) -> list[int]:
    """The strides along which there is somewhere to go."""
    return [
        step
        for step, size in zip(value.stride(), value.shape, strict=True)
        if size > 1 and value.numel() > 0
    ]


def check_axis(name: str) -> None:
    """Every case that has the axis, each in one of the dtypes."""
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for index, case in enumerate(SMALL):
        axis = _axis(name, case)
        if axis is None:
            continue
        dtype = DTYPES[index % len(DTYPES)]
        try:
            check_case(case, dtype, axis, mesh)
        except BaseException as error:
            error.add_note(f"{case.name}, {dtype}, sharded on axis {axis} of {case.shape}")
            raise


@pytest.mark.parametrize("axis", SPATIAL)
def test_every_case_sharded_on(group: Group, axis: str) -> None:
    group.run(check_axis, axis)


@pytest.mark.parametrize("axis", ["batch", "channels"])
def test_every_case_without_an_exchange_sharded_on(two: Group, axis: str) -> None:
    two.run(check_axis, axis)
