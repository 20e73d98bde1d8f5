"""Plain PyTorch under DDP, which needs nothing special: SCNP has no parameters and no state.

torchrun --nproc-per-node 2 examples/distributed.py
"""

import torch
from synthetic import IGNORE, curves
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from scnp_kernels import SCNPLoss


def small_network() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 2, 1))


def train(steps: int = 20) -> tuple[list[float], float, nn.Module]:
    """This process's training losses, the plain loss on other images, and the network."""
    torch.manual_seed(0)
    network = small_network()
    rank, processes = 0, 1
    if distributed.is_initialized():
        rank, processes = distributed.get_rank(), distributed.get_world_size()
        network = DistributedDataParallel(network)
    plain = nn.CrossEntropyLoss(ignore_index=IGNORE)
    criterion = SCNPLoss(plain, kernel_size=3, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    # DDP averages gradients: equal shares of images with equally many labelled pixels give those
    # of one process on all of them.
    images, labels = (share[rank::processes] for share in curves(4))

    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = criterion(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = curves(4, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return losses, plain(network(images), labels).item(), network  # validation: no SCNP


if __name__ == "__main__":
    if distributed.is_torchelastic_launched():
        distributed.init_process_group("gloo")  # "nccl" on GPUs
    losses, validation, _ = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
    if distributed.is_initialized():
        distributed.destroy_process_group()
