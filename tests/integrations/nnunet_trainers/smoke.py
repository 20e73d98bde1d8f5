"""The SCNP trainers cut short: one epoch of two iterations, and a record of what happened.

nnU-Net finds this file as it finds any trainer, through its variable nnUNet_extTrainer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from scnp_kernels.integrations.nnunet.trainers.nnUNetTrainerSCNP import (
    nnUNetTrainerSCNP,
    nnUNetTrainerSCNPFused,
    nnUNetTrainerSCNPJoint,
    nnUNetTrainerSCNPPaper,
)


class Smoke:
    """Cuts training short, and writes what the test wants to know beside the checkpoint."""

    def __init__(
        self: Any,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008, nnU-Net's own signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)  # type: ignore[call-arg]
        self.num_epochs = 1
        self.num_iterations_per_epoch = 2
        self.num_val_iterations_per_epoch = 1
        self.record = {
            "ignored_voxels": 0,
            "largest_gradient_at_ignored_voxels": 0.0,
            "largest_gradient_elsewhere": 0.0,
            "losses": [],
            "validation_penalizes": None,
        }

    def train_step(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        outputs = []

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            for scale in output:
                scale.retain_grad()
            outputs.extend(output)

        handle = self.network.register_forward_hook(keep)
        targets = [target.clone() for target in batch["target"]]
        result: dict[str, Any] = super().train_step(batch)  # type: ignore[misc]
        handle.remove()
        for output, target in zip(outputs, targets, strict=True):
            if output.grad is not None:
                self._note_gradient(output.grad, self._ignored(target))
        self.record["losses"].append(float(result["loss"]))
        return result

    def _ignored(self: Any, target: torch.Tensor) -> torch.Tensor:
        """[b, 1, *spatial], True at ignored voxels."""
        label = self.label_manager.ignore_label
        if label is None:
            return torch.zeros_like(target[:, :1], dtype=torch.bool)
        return target[:, -1:] if self.label_manager.has_regions else target == label

    def _note_gradient(self: Any, gradient: torch.Tensor, ignored: torch.Tensor) -> None:
        record = self.record
        record["ignored_voxels"] += int(ignored.sum())
        for key, where in (
            ("largest_gradient_at_ignored_voxels", ignored),
            ("largest_gradient_elsewhere", ~ignored),
        ):
            largest = float((gradient.abs() * where).max())
            record[key] = max(record[key], largest)

    def validation_step(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        self.record["validation_penalizes"] = self.loss.training
        result: dict[str, Any] = super().validation_step(batch)  # type: ignore[misc]
        return result

    def on_train_end(self: Any) -> None:
        super().on_train_end()  # type: ignore[misc]
        self.record["loss"] = repr(self.loss)
        (Path(self.output_folder) / "record.json").write_text(json.dumps(self.record))


class SmokeSCNP(Smoke, nnUNetTrainerSCNP):
    pass


class SmokeJoint(Smoke, nnUNetTrainerSCNPJoint):
    pass


class SmokePaper(Smoke, nnUNetTrainerSCNPPaper):
    pass


class SmokeFused(Smoke, nnUNetTrainerSCNPFused):
    pass


class SmokeEdited(SmokeSCNP):
    """A trainer whose option somebody edits between two calls; the test plays the editor."""

    SCNP_KERNEL_SIZE = int(os.environ.get("SMOKE_EDITED_TO", "3"))


class SmokeLines(SmokeSCNP):
    """Counts the columns that hold a line, in the target of every scale, as the loss gets them."""

    def validation_step(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        # One scale's target is [b, 1, H, W]; all images of a batch show the same case.
        self.record["columns"] = [
            int((target[0, 0] > 0).any(dim=0).sum()) for target in batch["target"]
        ]
        return super().validation_step(batch)
