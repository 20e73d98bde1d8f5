"""What docs/distributed.md says of two processes: the recipe under DDP, and losses on DTensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from packaging.version import Version
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn

from scnp_kernels import SCNPDiceCELoss, SCNPLoss
from tests.integrations.recipes import run_recipe

PROCESSES = 2


def gradients_of_one_step() -> list[Tensor]:
    """Of every parameter, after the recipe's first step; without autocast, to compare closely."""
    recipe = run_recipe("distributed.py", run_name="recipe")
    with patch("torch.autocast", lambda *_: nullcontext()):
        _, _, network = recipe["train"](steps=1)
    return [parameter.grad for parameter in network.parameters()]


def run_process(rank: int, folder: str) -> None:
    """One process of the group."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    torch.save(gradients_of_one_step(), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    spawn(run_process, (str(tmp_path),), PROCESSES)
    expected = gradients_of_one_step()
    assert any(gradient.ne(0).any() for gradient in expected)
    for rank in range(PROCESSES):
        actual = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(actual, expected)


IGNORE = 255
PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
Loss = Callable[[Tensor, Tensor], Tensor]


def ignoring(**options: object) -> SCNPLoss:
    cross_entropy = nn.CrossEntropyLoss(ignore_index=IGNORE, **options)  # type: ignore[arg-type]
    return SCNPLoss(cross_entropy, ignore_index=IGNORE)


LOSSES: dict[str, Loss] = {
    "mean": ignoring(),
    "sum over count": lambda z, y: ignoring(reduction="sum")(z, y) / (y != IGNORE).sum(),
    "fused": SCNPDiceCELoss(dice_weight=0.0, ignore_index=IGNORE),
}


def losses_of_shards(rank: int, folder: str) -> None:
    """One process of the group: every loss of the whole and of its shards, and its gradient."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    mesh = init_device_mesh("cpu", (PROCESSES,))
    torch.manual_seed(0)
    logits, target = torch.randn(4, 3, 8, 8), torch.randint(0, 3, (4, 8, 8))
    target[:2, :6] = IGNORE  # most of the first two images, which the first process holds
    outcomes = {}
    for name, loss in LOSSES.items():
        whole = logits.clone().requires_grad_()
        value = loss(whole, target)
        shards = distribute_tensor(logits, mesh, [Shard(0)]).requires_grad_()
        on_shards: Any = loss(shards, distribute_tensor(target, mesh, [Shard(0)]))
        gradient: Any = torch.autograd.grad(on_shards, shards)[0]
        outcomes[name] = {
            "whole": (value.detach(), *torch.autograd.grad(value, whole)),
            "shards": (on_shards.detach().full_tensor(), gradient.full_tensor()),
        }
    torch.save(outcomes, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_cross_entropy_that_ignores_on_dtensors(tmp_path: Path) -> None:
    """Before torch 2.14 its mean is that of the shards' means; the page's other forms are right."""
    page = re.search(r"(\d\.\d{4}) instead of\s+(\d\.\d{4})", PAGE.read_text())
    assert page is not None
    reported, right = float(page[1]), float(page[2])
    if Version(torch.__version__) >= Version("2.14"):
        reported = right
    spawn(losses_of_shards, (str(tmp_path),), PROCESSES)
    for rank in range(PROCESSES):
        outcomes = torch.load(tmp_path / f"{rank}.pt")
        for name, outcome in outcomes.items():
            (value, gradient), (expected, expected_gradient) = outcome["shards"], outcome["whole"]
            torch.testing.assert_close(gradient, expected_gradient)
            torch.testing.assert_close(expected, torch.tensor(right), rtol=0, atol=1e-4)
            is_reported = torch.tensor(reported if name == "mean" else right)
            torch.testing.assert_close(value, is_reported, rtol=0, atol=1e-4)
