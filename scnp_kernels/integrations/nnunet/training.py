"""What every SCNP trainer shares, as a class to put in front of any of nnU-Net's trainers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..._version import __version__
from ...rules.arguments import KernelSize
from .checkpoints import Settings, add_to_checkpoint, mismatch, settings_in
from .losses import PenalizedOutputs
from .variants import variant_from_variables
from .windows import Window, windows_per_scale


class PenalizedTraining:
    """Trains any nnU-Net trainer's loss on penalized outputs; validates with the loss itself.

    ``class MyTrainer(PenalizedTraining, nnUNetTrainerTopk10Loss): pass`` is all that another
    trainer needs. The options are class attributes; an environment variable of the same name, where
    it is set, comes before them and makes a variant of the trainer, with a name and so a folder of
    its own (:mod:`scnp_kernels.integrations.nnunet.variants`).

    Checkpoints hold the options. They name the wrapped trainer, where that builds the same network,
    so that predicting with them does not need this package.

    Attributes:
        SCNP_KERNEL_SIZE: One odd side, adapted to the plan's spacing at every scale, or one per
            axis, taken as it is (variable: ``3`` or ``1,3,3``).
        SCNP_KERNEL_SIZE_PER_SCALE: The same for every output of deep supervision, finest first
            (variable: ``5;3;3``); None for the same at all.
        SCNP_PLAIN_WEIGHT: Weight of the loss on plain outputs; 1 is the paper's joint loss.
        SCNP_FOLLOWS_SPACING: Whether one side is adapted to the plan's spacing (no variable).
    """

    SCNP_KERNEL_SIZE: KernelSize = 3
    SCNP_KERNEL_SIZE_PER_SCALE: Sequence[KernelSize] | None = None
    SCNP_PLAIN_WEIGHT: float = 0.0
    SCNP_FOLLOWS_SPACING: bool = True

    def __new__(cls, *_arguments: Any, **_options: Any) -> Any:
        return super().__new__(variant_from_variables(cls))

    def _build_loss(self: Any) -> nn.Module:
        loss = self._loss_to_penalize()
        windows = windows_per_scale(
            self.SCNP_KERNEL_SIZE,
            self.SCNP_KERNEL_SIZE_PER_SCALE,
            self.configuration_manager.spacing,
            self._get_deep_supervision_scales(),
            follow_spacing=self.SCNP_FOLLOWS_SPACING,
        )
        penalized: nn.Module = self._penalize(loss, windows, self.SCNP_PLAIN_WEIGHT)
        self.print_to_log_file(f"SCNP: {type(self).__name__}, {penalized.extra_repr()}")
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

    def on_train_epoch_end(self: Any, train_outputs: Any) -> None:
        super().on_train_epoch_end(train_outputs)  # type: ignore[misc]
        means = self.loss.terms.take()
        self.print_to_log_file(
            "SCNP:", ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        )
        # nnU-Net's own logger takes its own names alone; those beside it (wandb) take any.
        for logger in getattr(self.logger, "loggers", ()):
            for name, mean in means.items():
                logger.log(f"train/{name}", mean, self.current_epoch)

    def on_validation_epoch_start(self: Any) -> None:
        super().on_validation_epoch_start()  # type: ignore[misc]
        self.loss.eval()

    def save_checkpoint(self: Any, filename: str) -> None:
        super().save_checkpoint(filename)  # type: ignore[misc]
        if self.local_rank == 0 and not self.disable_checkpointing:
            add_to_checkpoint(filename, self._settings(), name_for_prediction(type(self)))

    def load_checkpoint(self: Any, filename_or_checkpoint: Any) -> None:
        super().load_checkpoint(filename_or_checkpoint)  # type: ignore[misc]
        difference = mismatch(settings_in(filename_or_checkpoint), self._settings())
        if difference is not None:
            self.print_to_log_file(
                f"WARNING: SCNP: this is not how {filename_or_checkpoint} was trained: "
                f"{difference}. Training goes on with the latter."
            )

    def _settings(self: Any) -> Settings:
        return {
            "trainer": type(self).__name__,
            "windows": [list(window) for window in self.loss.windows],  # one per output
            "plain_weight": float(self.SCNP_PLAIN_WEIGHT),
            "version": __version__,
        }


def name_for_prediction(trainer: Any) -> str:
    """The wrapped trainer's name if that builds the same network; else the trainer's own.

    nnU-Net predicts with the network that the trainer named in the checkpoint builds.
    """
    builds = trainer.build_network_architecture
    parent: Any
    for parent in trainer.__mro__:
        is_wrapped = hasattr(parent, "run_training") and not issubclass(parent, PenalizedTraining)
        if is_wrapped and parent.build_network_architecture is builds:
            return str(parent.__name__)
    return str(trainer.__name__)
