"""The plain-torch recipe under DDP: two processes give the gradients of one on the joined batch."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn

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
