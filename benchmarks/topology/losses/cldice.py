"""clDice: overlap of centrelines, by a skeleton that gradients can pass."""

from __future__ import annotations

from monai.losses.cldice import SoftDiceclDiceLoss

from benchmarks.topology.losses.segmentation_loss import (
    SegmentationLoss,
    check_dimensions,
    of_label_map,
)

ALPHA = 0.5
# Every iteration peels off one more layer of pixels: with 3, structures up to 8 pixels thick still
# leave a skeleton. Each costs time and memory (five poolings forward and backward).
ITERATIONS = 3


def cldice(classes: int, spatial_dimensions: int) -> SegmentationLoss:
    """Soft Dice + soft clDice (Shit et al., CVPR 2021, Eq. 3 and Algorithms 1, 2); MONAI's.

    ``(1 - alpha) (1 - softDice) + alpha (1 - softclDice)`` with alpha = 0.5, both of the
    foreground classes, as its authors combine them. softclDice is the harmonic mean of the share
    of the predicted soft skeleton that lies in the truth, and of the true one in the prediction.
    """
    check_dimensions(classes, spatial_dimensions)
    return of_label_map(
        SoftDiceclDiceLoss(
            iter_=ITERATIONS,
            alpha=ALPHA,
            include_background=False,
            to_onehot_y=True,
            softmax=True,
        )
    )
