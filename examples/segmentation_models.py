"""segmentation-models-pytorch: its Dice loss on penalized logits, plus the same on plain ones."""

import segmentation_models_pytorch as smp
import torch
from synthetic import IGNORE, curves

from scnp_kernels import SCNPLoss


def train(steps: int = 12) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=2)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE)
    criterion = SCNPLoss(dice, kernel_size=3, plain_weight=1.0, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, labels = curves(4)  # [4, 3, 64, 64], [4, 64, 64]

    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = curves(4, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        validation = dice(model.eval()(images), labels).item()  # the plain loss: no SCNP
    return losses, validation


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
