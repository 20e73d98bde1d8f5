"""MONAI: its deep supervision around SCNP around its Dice + cross entropy."""

import torch
from monai.data import MetaTensor
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet
from synthetic import curves

from scnp_kernels import SCNPLoss


def train(steps: int = 12) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    model = DynUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=2,
        kernel_size=[3, 3, 3, 3],
        strides=[1, 2, 2, 2],
        upsample_kernel_size=[2, 2, 2],
        filters=[16, 32, 64, 64],
        deep_supervision=True,
        deep_supr_num=2,
    )
    # DiceCELoss knows no ignored label: the unlabelled rows are cut off instead.
    plain = DiceCELoss(to_onehot_y=True, softmax=True)
    # SCNP goes inside: each scale has logits and a target of its own.
    criterion = DeepSupervisionLoss(SCNPLoss(plain, kernel_size=3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, labels = (MetaTensor(t[..., 16:, :]) for t in curves(4))  # [4, 3, 48, 64], [4, 48, 64]

    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = list(model(images).unbind(1))  # [4, 3 scales, 2, 48, 64], all at full size
            loss = criterion(outputs, labels.unsqueeze(1).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = (t[..., 16:, :] for t in curves(4, seed=1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        validation = plain(model.eval()(images), labels.unsqueeze(1)).item()  # no SCNP
    return losses, validation


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
