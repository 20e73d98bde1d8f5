"""The segmentation network: a small U-Net from MONAI, for images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet, UpCat
from torch import Tensor, nn


class InFloat32(nn.Module):
    """Computes a layer in float32 though autocast is on: so that logits keep their digits."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """The layer's output in float32."""
        with torch.autocast(features.device.type, enabled=False):
            output: Tensor = self.layer(features.float())
        return output


def build_network(
    seed: int, spatial_dimensions: int, channels: int, classes: int, features: Sequence[int]
) -> nn.Module:
    """[B, channels, *spatial] to [B, classes, *spatial]; ``seed`` decides the first weights.

    Batch normalisation, plain ReLU and interpolated upsampling: MONAI's U-Net of strided
    convolutions is faster, but segments worse without SCNP (on TopoMortar's validation images it
    breaks more often), and every method would look better beside it than it is.
    """
    torch.manual_seed(seed)
    network = BasicUNet(
        spatial_dims=spatial_dimensions,
        in_channels=channels,
        out_channels=classes,
        features=tuple(features),
        act=("relu", {"inplace": True}),
        norm="batch",
        upsample="nontrainable",
    )
    network.final_conv = InFloat32(network.final_conv)
    for module in network.modules():
        if isinstance(module, UpCat):  # pads odd sides, and takes time though there are none here
            module.is_pad = False
    return network
