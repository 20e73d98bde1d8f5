"""The segmentation network of the demo: a small U-Net from MONAI."""

from __future__ import annotations

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import nn

# Channels of the five encoder levels, then of the last decoder level.
FEATURES = (12, 24, 48, 96, 96, 12)
# Four times the network halves the image, so sides must be a multiple of this.
SIDE_MULTIPLE = 16


def build_network(seed: int) -> nn.Module:
    """A small U-Net ([B, 3, H, W] to [B, 2, H, W]) whose initial weights `seed` decides.

    Batch normalisation, plain ReLU and interpolated upsampling: with instance normalisation or
    strided convolutions the baseline segments worse, and every method would look better
    beside it than it is.
    """
    torch.manual_seed(seed)
    network: nn.Module = BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=2,
        features=FEATURES,
        act=("relu", {"inplace": True}),
        norm="batch",
        upsample="nontrainable",
    )
    return network
