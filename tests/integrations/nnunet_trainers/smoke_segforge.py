"""A trainer of SegForge with SCNP, as docs/nnunet.md writes it, cut short."""

from __future__ import annotations

from typing import Any

import torch
from segforge.training.nnUNetTrainer.UNetTrainer import UNetTrainer

from scnp_kernels.integrations.nnunet.training import PenalizedTraining


class SmokeSegForge(PenalizedTraining, UNetTrainer):  # type: ignore[misc]
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008, nnU-Net's own signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 1
        self.num_iterations_per_epoch = 2
        self.num_val_iterations_per_epoch = 1
