"""SCNP trainers for nnU-Net v2.

nnU-Net finds them by name: through the variable ``nnUNet_extTrainer`` (2.8 and later), or when this
file lies in its own folder of trainers (``python -m scnp_kernels.integrations.nnunet --copy``).
A name may end in options: nnUNetTrainerSCNP_w5 is nnUNetTrainerSCNP with a window of 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from scnp_kernels.integrations.nnunet.fused import CannotFuseError, FusedOutputs
from scnp_kernels.integrations.nnunet.losses import PaperDiceCELoss
from scnp_kernels.integrations.nnunet.training import PenalizedTraining
from scnp_kernels.integrations.nnunet.variants import variant_by_name
from scnp_kernels.integrations.nnunet.windows import Window


class nnUNetTrainerSCNP(PenalizedTraining, nnUNetTrainer):
    """nnU-Net's loss on penalized outputs."""


class nnUNetTrainerSCNPJoint(nnUNetTrainerSCNP):
    """The paper's joint loss: nnU-Net's loss on penalized outputs, plus the same on plain ones."""

    SCNP_PLAIN_WEIGHT = 1.0


class nnUNetTrainerSCNPFused(nnUNetTrainerSCNP):
    """As nnUNetTrainerSCNP, by the fused loss where that computes the same.

    Where it does not, the log says why, and the loss is wrapped.
    """

    def _penalize(self, loss: Any, windows: Sequence[Window], plain_weight: float) -> nn.Module:
        channels = self.label_manager.num_segmentation_heads
        try:
            return FusedOutputs(loss, windows, channels=channels, plain_weight=plain_weight)
        except CannotFuseError as reason:
            self.print_to_log_file(f"SCNP: the fused loss cannot be used: {reason}. Wrapping it.")
            return super()._penalize(loss, windows, plain_weight)


class nnUNetTrainerSCNPPaper(nnUNetTrainerSCNPFused):
    """The paper's own cross entropy + Dice on penalized outputs, at nnU-Net's scale weights.

    As in the paper's code, Dice is taken per image and class, the background counted, and the
    window is the same at every scale and along every axis, whatever the spacing.
    """

    SCNP_FOLLOWS_SPACING = False

    def _loss_to_penalize(self) -> Any:
        if self.label_manager.has_regions:
            raise ValueError(
                "nnUNetTrainerSCNPPaper: got a data set with overlapping regions, takes one with "
                "plain labels (the paper's formulas are for softmax); use nnUNetTrainerSCNP"
            )
        loss = PaperDiceCELoss(self.label_manager.ignore_label)
        built = super()._loss_to_penalize()
        if not isinstance(built, DeepSupervisionWrapper):
            return loss
        return DeepSupervisionWrapper(loss, built.weight_factors)


_TRAINERS = {
    trainer.__name__: trainer
    for trainer in (
        nnUNetTrainerSCNP,
        nnUNetTrainerSCNPJoint,
        nnUNetTrainerSCNPFused,
        nnUNetTrainerSCNPPaper,
    )
}


def __getattr__(name: str) -> type[nnUNetTrainer]:
    """Variants, such as nnUNetTrainerSCNP_w5; nnU-Net asks a module for a trainer by its name."""
    return variant_by_name(name, _TRAINERS)
