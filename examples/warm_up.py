"""A warm-up: from the plain loss to SCNP's, in a compiled step that is compiled once."""

import torch
from synthetic import IGNORE, curves
from torch import Tensor, nn

from scnp_kernels import SCNPFocalLoss


def train(steps: int = 40, warm_up: int = 10) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 16, 5, padding=2)
    network = nn.Sequential(first, nn.ReLU(), nn.Conv2d(16, 2, 5, padding=2))
    criterion = SCNPFocalLoss(kernel_size=3, gamma=2.0, dice_weight=1.0, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    images, labels = curves(4)  # [4, 3, H, W], [4, H, W]

    @torch.compile(fullgraph=True, backend="aot_eager")
    def loss_of(images: Tensor, labels: Tensor, ramp: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        result: tuple[Tensor, dict[str, Tensor]] = criterion(
            network(images), labels, scnp_weight=ramp, plain_weight=1 - ramp, return_terms=True
        )
        return result

    losses = []
    for step in range(steps):
        # A tensor: another number would be another graph.
        ramp = torch.tensor(min(1.0, step / warm_up))
        loss, terms = loss_of(images, labels, ramp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["plain_dice"].item())  # what it costs without SCNP, all the way

    images, labels = curves(4, seed=1)
    with torch.no_grad():
        loss = criterion(network(images), labels, scnp_weight=0, plain_weight=1)  # no SCNP
    return losses, loss.item()


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
