"""The losses that torch and MONAI have: cross entropy, Dice, both, Tversky, Focal, clDice."""

from __future__ import annotations

from monai.losses.cldice import SoftDiceclDiceLoss
from monai.losses.dice import DiceCELoss, DiceLoss
from monai.losses.focal_loss import FocalLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.topology.losses.segmentation_loss import SegmentationLoss

ALPHA, BETA = 0.3, 0.7  # of Tversky
GAMMA = 2.0  # of Focal
CLDICE_ALPHA = 0.5
# Every iteration peels off one more layer of pixels: with 3, structures up to 8 pixels thick still
# leave a skeleton. Each costs time and memory (five poolings forward and backward).
CLDICE_ITERATIONS = 3


def cross_entropy() -> SegmentationLoss:
    """Cross entropy of the softmax, the mean over pixels of ``-log p(truth)``; torch's."""

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:  # noqa: ARG001
        return functional.cross_entropy(logits, label_map)

    return loss


def dice() -> SegmentationLoss:
    """Soft Dice loss (Milletari et al., 3DV 2016, without the squares), of all classes; MONAI's.

    ``1 - 2 sum(p y) / (sum(p) + sum(y))`` per image and class, then the mean.
    """
    return _of_monai(DiceLoss(to_onehot_y=True, softmax=True))


def dice_cross_entropy() -> SegmentationLoss:
    """The sum of Dice and cross entropy, the usual loss (Isensee et al., 2021); MONAI's."""
    return _of_monai(DiceCELoss(to_onehot_y=True, softmax=True))


def tversky() -> SegmentationLoss:
    """Tversky loss (Salehi et al., MLMI 2017, Eq. 4), of all classes; MONAI's.

    ``1 - TP / (TP + alpha FP + beta FN)`` per image and class, then the mean. The weights are those
    that its authors found best: a miss costs more than a false alarm.
    """
    return _of_monai(TverskyLoss(to_onehot_y=True, softmax=True, alpha=ALPHA, beta=BETA))


def focal() -> SegmentationLoss:
    """Focal loss (Lin et al., ICCV 2017, Eq. 4), gamma = 2, of the softmax; MONAI's.

    ``-(1 - p)^gamma log p`` for the truth's probability p. MONAI takes the mean over pixels and
    classes, of which all but the true one add 0.
    """
    return _of_monai(FocalLoss(gamma=GAMMA, to_onehot_y=True, use_softmax=True))


def cldice() -> SegmentationLoss:
    """Soft Dice + soft clDice (Shit et al., CVPR 2021, Eq. 3 and Algorithms 1, 2); MONAI's.

    ``(1 - alpha) (1 - softDice) + alpha (1 - softclDice)`` with alpha = 0.5, both of the
    foreground classes, as its authors combine them. softclDice is the harmonic mean of the share
    of the predicted soft skeleton that lies in the truth, and of the true one in the prediction.
    """
    return _of_monai(
        SoftDiceclDiceLoss(
            iter_=CLDICE_ITERATIONS,
            alpha=CLDICE_ALPHA,
            include_background=False,
            to_onehot_y=True,
            softmax=True,
        )
    )


def _of_monai(module: nn.Module) -> SegmentationLoss:
    """One of MONAI's losses, which take the label map as ``[B, 1, *spatial]``."""

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:  # noqa: ARG001
        value: Tensor = module(logits, label_map.unsqueeze(1))
        return value

    return loss
