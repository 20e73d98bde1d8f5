"""torchvision: DeepLabV3 with its auxiliary head, both trained on penalized logits."""

import torch
from synthetic import IGNORE, curves
from torch import nn
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from scnp_kernels import SCNPLoss


def train(steps: int = 12) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    model = deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2, aux_loss=True
    )
    cross_entropy = nn.CrossEntropyLoss(ignore_index=IGNORE)
    criterion = SCNPLoss(cross_entropy, kernel_size=3, ignore_index=IGNORE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, labels = curves(4)  # [4, 3, 64, 64], [4, 64, 64]

    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images)  # "out" and "aux": [4, 2, 64, 64], already at full size
            loss = criterion(logits["out"], labels) + 0.5 * criterion(logits["aux"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = curves(4, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        validation = cross_entropy(model.eval()(images)["out"], labels).item()  # plain: no SCNP
    return losses, validation


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
