"""nnU-Net's batch Dice over several processes, in its own loss and in the fused one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn

from scnp_kernels.integrations.nnunet.fused import FusedOutputs
from scnp_kernels.integrations.nnunet.losses import PenalizedOutputs
from tests.integrations.expected import loss_and_gradient

PROCESSES = 2
CLASSES = 3
WINDOWS = [(3, 3)]


def batch_dice_loss(regions: bool) -> Any:
    """As nnU-Net's trainer builds it for several GPUs and a configuration with batch Dice."""
    dice = {"batch_dice": True, "smooth": 1e-5, "ddp": True, "do_bg": regions}
    kind = MemoryEfficientSoftDiceLoss
    if regions:
        return DC_and_BCE_loss({}, dice, dice_class=kind)
    return DC_and_CE_loss(dice, {}, dice_class=kind)


def compare(rank: int, folder: str, regions: bool) -> None:
    """One process of the group: both losses on this rank's own images."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    torch.manual_seed(rank)
    logits = [torch.randn(2, CLASSES, 16, 12).requires_grad_()]
    if regions:
        targets = [torch.rand(2, CLASSES, 16, 12) < 0.4]
    else:
        # Other classes on every rank, so that Dice of one rank alone is another number.
        targets = [torch.randint(rank, rank + 2, (2, 1, 16, 12), dtype=torch.int16)]
    loss = batch_dice_loss(regions)
    wrapped = PenalizedOutputs(loss, WINDOWS, ignore_label=None, regions=regions, plain_weight=1.0)
    fused = FusedOutputs(loss, WINDOWS, channels=CLASSES, plain_weight=1.0)
    # Without deep supervision nnU-Net hands over tensors, not lists.
    outcomes: list[tuple[Tensor, ...]] = [
        tuple(loss_and_gradient(criterion(logits[0], targets[0]), logits))
        for criterion in (wrapped, fused)
    ]
    torch.save(outcomes, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("regions", [False, True])
def test_batch_dice_over_ranks_is_fused(regions: bool, tmp_path: Path) -> None:
    spawn(compare, (str(tmp_path), regions), PROCESSES)
    for rank in range(PROCESSES):
        wrapped, fused = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(fused, wrapped)
