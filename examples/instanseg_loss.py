"""InstanSeg: SCNP on the crops of its instances, switched on after a hot start."""

import torch
from instanseg.utils.loss.instanseg_loss import InstanSeg
from instanseg.utils.models.InstanSeg_UNet import InstanSeg_UNet
from torch import Tensor

from scnp_kernels.integrations.instanseg import enable


def cells(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images ``[count, 3, 64, 64]`` and instances ``[count, 1, 64, 64]``, 0 in the background."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    instances = torch.zeros(count, 1, 64, 64)
    for image in range(count):
        for cell in range(9):
            row, column = 12 + 20 * (cell // 3), 12 + 20 * (cell % 3)
            radius = 4 + 3 * torch.rand(1, generator=generator)
            instances[image, 0][(y - row) ** 2 + (x - column) ** 2 < radius**2] = cell + 1
    return (instances > 0) + 0.3 * torch.randn(count, 3, 64, 64, generator=generator), instances


def train(steps: int = 20) -> tuple[list[float], float]:
    """Losses after the hot start, and InstanSeg's own loss on other images."""
    torch.manual_seed(0)
    enable(kernel_size=3)
    options = {"n_sigma": 2, "window_size": 32, "device": "cpu"}
    method = InstanSeg(binary_loss_fn_str="scnp_dice_ce", **options)
    network = InstanSeg_UNet(3, [2, 2, 1], layers=[32, 16, 8])
    network = method.initialize_pixel_classifier(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    images, instances = cells(2)

    losses = []
    for loss_name in ("dice_loss", "scnp_dice_ce"):  # InstanSeg's hot start, and the rest
        method.update_binary_loss(loss_name)
        losses = []
        for _ in range(steps):
            loss = method(network(images), instances.clone())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    method.update_binary_loss("dice_loss")  # the plain loss: no SCNP
    images, instances = cells(2, seed=1)
    with torch.no_grad():
        return losses, method(network.eval()(images), instances).item()


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
