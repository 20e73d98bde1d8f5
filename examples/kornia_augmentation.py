"""kornia: augment images and labels together, then its focal loss on penalized logits."""

import kornia.augmentation as K
import torch
from kornia.losses import FocalLoss
from synthetic import IGNORE, curves
from torch import nn

from scnp_kernels import SCNPLoss


def small_network() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 2, 1))


def train(steps: int = 30) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    model = small_network()
    # The target of SCNP is the augmented one; kornia takes the nearest label, and blends none.
    augment = K.AugmentationSequential(
        K.RandomHorizontalFlip(), K.RandomAffine(20), data_keys=["input", "mask"]
    )
    focal = FocalLoss(alpha=0.5, reduction="mean", ignore_index=IGNORE)
    criterion = SCNPLoss(focal, kernel_size=3, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    images, labels = curves(4)  # [4, 3, 64, 64], [4, 64, 64]

    losses = []
    for _ in range(steps):
        # Zeros come in from outside the image: shifted, so that they mean "no label" there.
        augmented, mask = augment(images, (labels - IGNORE).unsqueeze(1).float())
        with torch.autocast("cpu", torch.bfloat16):
            loss = criterion(model(augmented), mask.squeeze(1).long() + IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = curves(4, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        validation = focal(model(images), labels).item()  # the plain loss: no SCNP
    return losses, validation


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
