"""Plain PyTorch: penalize where the whole window is annotated, near structures or everywhere."""

import torch
import torch.nn.functional as F
from synthetic import IGNORE, curves
from torch import Tensor, nn

from scnp_kernels import SCNPDiceCELoss

WINDOW = 3


def annotated(labels: Tensor, window: int = WINDOW) -> Tensor:
    """bool [B, H, W]: no pixel of the window is ignored."""
    return F.max_pool2d((labels == IGNORE).float(), window, 1, window // 2) == 0


def near_structures(labels: Tensor, distance: int = 8) -> Tensor:
    """bool [B, H, W]: a foreground pixel is at most so many rows and columns away."""
    return F.max_pool2d((labels == 1).float(), 2 * distance + 1, 1, distance) > 0


def train(steps: int = 60) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 16, 5, padding=2)
    model = nn.Sequential(first, nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(),
                          nn.Conv2d(16, 2, 1))  # fmt: skip
    criterion = SCNPDiceCELoss(kernel_size=WINDOW, ignore_index=IGNORE)
    plain = SCNPDiceCELoss(scnp_weight=0.0, plain_weight=1.0, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    images, labels = curves(4)  # [4, 3, 64, 64], [4, 64, 64]

    losses = []
    for _ in range(steps):
        loss = criterion(model(images), labels, gate=annotated(labels) & near_structures(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = curves(4, seed=1)
    with torch.no_grad():
        validation = plain(model(images), labels).item()
    return losses, validation


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
