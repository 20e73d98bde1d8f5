"""Promise: the loss of DTensors, and its gradient, is that of the whole tensors everywhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module
from torch.distributed.tensor.placement_types import Placement

from scnp_kernels import (
    SCNPDiceCELoss,
    SCNPLoss,
    scnp,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)
from tests.distributed.group import Group
from tests.distributed.pieces import of_map, place
from tests.generators import seeded

SHAPE = (3, 4, 9, 7)
IGNORED = 255
OPTIONS: tuple[dict[str, Any], ...] = (
    {"batch_dice": False},
    {"batch_dice": True, "plain_weight": 1.0, "class_weights": [0.5, 1.0, 2.0, 1.5]},
    {"scnp_weight": 0.0, "plain_weight": 1.0, "include_background": False},
    {"kernel_size": (5, 3), "batch_dice": True, "smooth": 0.0},
)


def _compare(
    mesh: DeviceMesh,
    placements: list[Placement],
    target: Tensor,
    options: dict[str, Any],
    function: Callable[..., Any] = scnp_dice_ce_loss,
) -> None:
    logits = torch.randn(SHAPE, dtype=torch.float64, generator=seeded(1))
    valid = torch.rand(SHAPE[0], *SHAPE[2:], generator=seeded(2)) < 0.8
    gate = torch.rand(SHAPE[0], *SHAPE[2:], generator=seeded(3)) < 0.6
    whole = logits.clone().requires_grad_()
    options["return_terms"] = True
    expected, expected_terms = function(
        whole, target, mask=valid, gate=gate, distributed=False, **options
    )
    (expected_gradient,) = torch.autograd.grad(expected, whole)
    sharded = place(logits, mesh, placements).requires_grad_()
    loss, terms = function(
        sharded,
        place(target, mesh, of_map(placements, logits, target)),
        mask=place(valid, mesh, of_map(placements, logits, valid)),
        gate=place(gate, mesh, of_map(placements, logits, gate)),
        **options,
    )
    assert isinstance(loss, DTensor)
    assert loss.placements == (Replicate(),) * mesh.ndim
    torch.testing.assert_close(loss.to_local(), expected)
    local_terms = {name: term.to_local() for name, term in terms.items()}
    torch.testing.assert_close(local_terms, expected_terms)
    (gradient,) = torch.autograd.grad(loss, sharded)
    assert isinstance(gradient, DTensor)
    assert gradient.placements == tuple(placements)
    torch.testing.assert_close(gradient.full_tensor(), expected_gradient)


def check_softmax() -> None:
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    labels = torch.randint(0, 4, (3, 9, 7), generator=seeded(0))
    labels[torch.rand(labels.shape, generator=seeded(4)) < 0.1] = IGNORED
    for placement in (Replicate(), Shard(0), Shard(2), Shard(3)):
        for options in OPTIONS:
            _compare(mesh, [placement], labels, {"ignore_index": IGNORED, **options})


def test_softmax(group: Group) -> None:
    group.run(check_softmax)


def check_sigmoid() -> None:
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    masks = torch.rand(SHAPE, generator=seeded(0)) < 0.4
    labels = torch.randint(0, 4, (3, 9, 7), generator=seeded(0))
    for placement in (Shard(0), Shard(1), Shard(2)):
        for options in OPTIONS:
            for target in (masks, labels):
                _compare(mesh, [placement], target, {"activation": "sigmoid", **options})


def test_sigmoid_channels_too(group: Group) -> None:
    group.run(check_sigmoid)


def check_tversky_and_focal() -> None:
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    masks = torch.rand(SHAPE, generator=seeded(0)) < 0.4
    labels = torch.randint(0, 4, (3, 9, 7), generator=seeded(0))
    half = torch.tensor(0.5, dtype=torch.float64)
    tversky = {"alpha": 0.3, "ce_weight": 1.0, "batch_dice": True, "plain_weight": half}
    focal = {"gamma": 2.5, "alpha": [0.5, 1.0, 2.0, 1.5], "dice_weight": 1.0, "plain_weight": half}
    for placement in (Shard(0), Shard(2)):
        _compare(mesh, [placement], labels, tversky, scnp_tversky_loss)
        _compare(mesh, [placement], labels, focal, scnp_focal_loss)
    sigmoid = {**focal, "activation": "sigmoid"}
    _compare(mesh, [Shard(1)], masks, sigmoid, scnp_focal_loss)


def test_tversky_and_focal(group: Group) -> None:
    group.run(check_tversky_and_focal)


def check_meshes_of_two_dimensions() -> None:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("images", "space"))
    labels = torch.randint(0, 4, (3, 9, 7), generator=seeded(0))
    for first, second in ((Shard(0), Shard(3)), (Shard(2), Shard(3)), (Shard(0), Replicate())):
        _compare(mesh, [first, second], labels, {"batch_dice": True, "plain_weight": 1.0})
    _compare(mesh, [Shard(1), Shard(2)], labels, {"activation": "sigmoid"})


def test_meshes_of_two_dimensions(four: Group) -> None:
    four.run(check_meshes_of_two_dimensions)


def check_against_torch() -> None:
    """Cross entropy alone, of gathered penalized logits, as torch computes it."""
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    labels = torch.randint(0, 4, (3, 9, 7), generator=seeded(0))
    logits = torch.randn(SHAPE, generator=seeded(1))
    sharded, target = place(logits, mesh, [Shard(2)]), place(labels, mesh, [Shard(1)])
    loss = SCNPDiceCELoss(dice_weight=0.0)(sharded, target)
    assert isinstance(loss, DTensor)
    penalized = scnp(sharded, target)
    assert isinstance(penalized, DTensor)
    expected = F.cross_entropy(penalized.full_tensor(), labels)
    torch.testing.assert_close(loss.to_local(), expected)
    # Class weights of a distributed module are DTensors themselves.
    weighted = SCNPDiceCELoss(dice_weight=0.0, class_weights=[1.0, 2.0, 3.0, 4.0])
    loss = distribute_module(weighted, mesh)(sharded, target)
    assert isinstance(loss, DTensor)
    expected = F.cross_entropy(
        penalized.full_tensor(), labels, weight=torch.tensor([1.0, 2.0, 3.0, 4.0])
    )
    torch.testing.assert_close(loss.to_local(), expected)


def test_cross_entropy_is_that_of_torch(group: Group) -> None:
    group.run(check_against_torch)


def check_ignored_pixels_on_shards() -> None:
    """torch's mean over shards is not the mean over pixels: the user is told, and how to get it."""
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    labels = torch.randint(0, 4, (4, 8, 6), generator=seeded(0))
    labels[0] = 255  # half of the first shard, or all of it
    logits = torch.randn((4, 4, 8, 6), generator=seeded(1))
    sharded, target = place(logits, mesh, [Shard(0)]), place(labels, mesh, [Shard(0)])
    criterion = SCNPLoss(torch.nn.CrossEntropyLoss(ignore_index=255), ignore_index=255)
    with pytest.warns(RuntimeWarning, match=r"mean of the shards' means"):
        criterion(sharded, target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(logits, labels)
    expected = F.cross_entropy(scnp(logits, labels, ignore_index=255), labels, ignore_index=255)
    loss = SCNPDiceCELoss(dice_weight=0.0, ignore_index=255)(sharded, target)
    assert isinstance(loss, DTensor)
    torch.testing.assert_close(loss.to_local(), expected)


def test_ignored_pixels_on_shards_are_warned_of(group: Group) -> None:
    group.run(check_ignored_pixels_on_shards)


def check_errors() -> None:
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    labels = torch.randint(0, 4, (3, 9, 7), generator=seeded(0))
    logits = torch.randn(SHAPE, generator=seeded(1))
    target = place(labels, mesh, [Replicate()])
    with pytest.raises(ValueError, match=r"logits: got the placements .* with softmax"):
        scnp_dice_ce_loss(place(logits, mesh, [Shard(1)]), target)
    with pytest.raises(ValueError, match="distributed: got True with DTensors"):
        scnp_dice_ce_loss(place(logits, mesh, [Shard(0)]), target, distributed=True)


def test_what_cannot_be_taken_is_one_error(group: Group) -> None:
    group.run(check_errors)


def _half_of_the_batch() -> None:
    """Plain tensors, as DDP has them: every rank an image, and the gradients averaged."""
    rank = torch.distributed.get_rank()
    logits = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=seeded(7)).requires_grad_()
    labels = torch.randint(0, 3, (2, 9, 12), generator=seeded(8))

    def dice(z: Tensor, target: Tensor, distributed: bool | None = None) -> Tensor:
        return scnp_dice_ce_loss(z, target, batch_dice=True, ce_weight=0, distributed=distributed)

    whole = scnp_dice_ce_loss(logits, labels, batch_dice=True, distributed=False)
    (expected,) = torch.autograd.grad(whole, logits)
    of_whole_dice = torch.autograd.grad(dice(logits, labels, False), logits, create_graph=True)[0]
    (expected_second,) = torch.autograd.grad(of_whole_dice.square().sum(), logits)

    half, target = logits.detach()[rank : rank + 1].requires_grad_(), labels[rank : rank + 1]
    value = scnp_dice_ce_loss(half, target, batch_dice=True)
    (gradient,) = torch.autograd.grad(value, half)
    (of_dice,) = torch.autograd.grad(dice(half, target), half, create_graph=True)
    (second,) = torch.autograd.grad(of_dice.square().sum(), half)
    functional = torch.func.grad(dice)(half.detach(), target)
    twice = half.detach().expand(2, *half.shape)
    mapped = torch.func.vmap(torch.func.grad(lambda z: dice(z, target)))(twice)
    for answer, of_one_process in (
        (gradient / 2, expected),
        (second / 4, expected_second),  # a square: averaged twice
        (functional / 2, of_whole_dice),
        (mapped[1] / 2, of_whole_dice),
    ):
        torch.testing.assert_close(answer[0].detach(), of_one_process[rank].detach())


def test_dice_of_the_batch_spans_the_ranks(two: Group) -> None:
    two.run(_half_of_the_batch)
