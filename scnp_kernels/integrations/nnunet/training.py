"""What every SCNP trainer shares, as a class to put in front of any of nnU-Net's trainers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...rules.arguments import KernelSize
from .losses import PenalizedOutputs
from .windows import (
    Window,
    kernel_size_option,
    kernel_size_per_scale_option,
    plain_weight_option,
    windows_per_scale,
)


class PenalizedTraining:
    """Trains any nnU-Net trainer's loss on penalized outputs; validates with the loss itself.

    ``class MyTrainer(PenalizedTraining, nnUNetTrainerTopk10Loss): pass`` is all that another
    trainer needs. The options are class attributes; an environment variable of the same name, where
    it is set, comes before them.

    Attributes:
        SCNP_KERNEL_SIZE: One odd side, adapted to the plan's spacing at every scale, or one per
            axis, taken as it is (variable: ``3`` or ``1,3,3``).
        SCNP_KERNEL_SIZE_PER_SCALE: The same for every output of deep supervision, finest first
            (variable: ``5;3;3``); None for the same at all.
        SCNP_PLAIN_WEIGHT: Weight of the loss on plain outputs; 1 is the paper's joint loss.
    """

    SCNP_KERNEL_SIZE: KernelSize = 3
    SCNP_KERNEL_SIZE_PER_SCALE: Sequence[KernelSize] | None = None
    SCNP_PLAIN_WEIGHT: float = 0.0

    def _build_loss(self: Any) -> nn.Module:
        loss = self._loss_to_penalize()
        windows = windows_per_scale(
            kernel_size_option(self.SCNP_KERNEL_SIZE),
            kernel_size_per_scale_option(self.SCNP_KERNEL_SIZE_PER_SCALE),
            self.configuration_manager.spacing,
            self._get_deep_supervision_scales(),
        )
        plain_weight = plain_weight_option(self.SCNP_PLAIN_WEIGHT)
        penalized: nn.Module = self._penalize(loss, windows, plain_weight)
        self.print_to_log_file(f"SCNP: {penalized.extra_repr()}")
        return penalized

    def _loss_to_penalize(self: Any) -> Any:
        return super()._build_loss()  # type: ignore[misc]

    def _penalize(
        self: Any, loss: Any, windows: Sequence[Window], plain_weight: float
    ) -> nn.Module:
        return PenalizedOutputs(
            loss,
            windows,
            ignore_label=self.label_manager.ignore_label,
            regions=self.label_manager.has_regions,
            plain_weight=plain_weight,
        )

    def on_train_epoch_start(self: Any) -> None:
        super().on_train_epoch_start()  # type: ignore[misc]
        self.loss.train()

    def on_validation_epoch_start(self: Any) -> None:
        super().on_validation_epoch_start()  # type: ignore[misc]
        self.loss.eval()
