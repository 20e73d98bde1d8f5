"""Promise: DDP, FSDP2 and spatial sharding train as one process does on the whole batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module
from torch.nn.parallel import DistributedDataParallel

from scnp_kernels import SCNPDiceCELoss, SCNPLoss
from tests.distributed.group import Group
from tests.distributed.pieces import place
from tests.generators import seeded

STEPS = 3
CLASSES = 3
CRITERIA: tuple[nn.Module, ...] = (
    SCNPLoss(nn.CrossEntropyLoss(), kernel_size=5, plain_weight=1.0),
    SCNPDiceCELoss(kernel_size=3, plain_weight=1.0, batch_dice=True),
)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, CLASSES, 3, padding=1),
    ).double()


class PerPixel(nn.Module):
    """The same small network at every pixel: DTensor cuts its images anywhere.

    Convolutions would need halos of their own; those of DTensor in torch 2.13 say that their
    result is replicated when it is sharded.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Linear(2, 8).double()
        self.last = nn.Linear(8, CLASSES).double()

    def forward(self, images: Tensor) -> Tensor:
        """[B, 2, H, W] -> [B, C, H, W]."""
        hidden: Tensor = self.hidden(images.movedim(1, -1)).relu()
        logits: Tensor = self.last(hidden)
        return logits.movedim(-1, 1)


def _batch() -> tuple[Tensor, Tensor]:
    """Four images [4, 2, 16, 12] and their label maps."""
    images = torch.randn(4, 2, 16, 12, dtype=torch.float64, generator=seeded(0))
    return images, torch.randint(0, CLASSES, (4, 16, 12), generator=seeded(1))


def _train(
    network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor
) -> list[Tensor]:
    """The parameters after a few steps, whole."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(STEPS):
        optimizer.zero_grad()
        criterion(network(images), labels).backward()
        optimizer.step()
    return [
        parameter.full_tensor() if isinstance(parameter, DTensor) else parameter.detach()
        for parameter in network.parameters()
    ]


def _alone(criterion: nn.Module, network: Callable[[], nn.Module] = _network) -> list[Tensor]:
    """What one process gets; the sums of its loss are its own."""
    criterion = copy.deepcopy(criterion)
    if isinstance(criterion, SCNPDiceCELoss):
        criterion.options = replace(criterion.options, distributed=False)
    trained = _train(network(), criterion, *_batch())
    for before, after in zip(network().parameters(), trained, strict=True):
        assert not torch.allclose(before, after, rtol=1e-3)  # it learns
    return trained


def _own_share() -> tuple[Tensor, Tensor]:
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    images, labels = _batch()
    return images[rank::size], labels[rank::size]


def check_ddp() -> None:
    for criterion in CRITERIA:
        network = DistributedDataParallel(_network())
        torch.testing.assert_close(_train(network, criterion, *_own_share()), _alone(criterion))


def test_ddp(group: Group) -> None:
    group.run(check_ddp)


def check_fsdp2() -> None:
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for criterion in CRITERIA:
        network = _network()
        for layer in network:
            if isinstance(layer, nn.Conv2d):
                fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
        assert all(isinstance(parameter, DTensor) for parameter in network.parameters())
        torch.testing.assert_close(_train(network, criterion, *_own_share()), _alone(criterion))


def test_fsdp2(group: Group) -> None:
    group.run(check_fsdp2)


def check_spatial() -> None:
    """The network and the fused loss, both on columns of the images."""
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    criterion = CRITERIA[1]
    images, labels = _batch()
    trained = _train(
        distribute_module(PerPixel(), mesh),
        criterion,
        place(images, mesh, [Shard(3)]),
        place(labels, mesh, [Shard(2)]),
    )
    torch.testing.assert_close(trained, _alone(criterion, PerPixel))


def test_images_cut_into_columns(group: Group) -> None:
    group.run(check_spatial)


def check_mixed_engines() -> None:
    """Two shares of images, each cut in two: a mesh of images and space."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("images", "space"))
    criterion = CRITERIA[1]
    images, labels = _batch()
    network = _network()
    logits = network(images).detach()
    whole = logits.clone().requires_grad_()
    alone = copy.deepcopy(criterion)
    assert isinstance(alone, SCNPDiceCELoss)
    alone.options = replace(alone.options, distributed=False)
    expected = alone(whole, labels)
    expected.backward()
    sharded = place(logits, mesh, [Shard(0), Shard(2)]).requires_grad_()
    loss = criterion(sharded, place(labels, mesh, [Shard(0), Shard(1)]))
    assert loss.placements == (Replicate(), Replicate())
    loss.backward()
    torch.testing.assert_close(loss.to_local(), expected.detach())
    assert isinstance(sharded.grad, DTensor)
    torch.testing.assert_close(sharded.grad.full_tensor(), whole.grad)


def test_images_and_space_on_one_mesh(four: Group) -> None:
    four.run(check_mixed_engines)
