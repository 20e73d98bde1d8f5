"""Every recipe runs as it is: its loss falls, under autocast, and validation is unpenalised."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import scnp_kernels
from scnp_kernels import functional, modules
from tests.integrations.recipes import EXAMPLES, run_recipe

RECIPES = {  # and the dtype of the logits that SCNP must meet
    "segmentation_models.py": torch.bfloat16,
    "torchvision_deeplab.py": torch.bfloat16,
    "lightning_module.py": torch.bfloat16,
    "kornia_augmentation.py": torch.bfloat16,
    "distributed.py": torch.bfloat16,
    "monai_losses.py": torch.float32,  # MONAI's deep supervision makes its input float32
    "instanseg_loss.py": torch.float32,  # InstanSeg trains without autocast
    "huggingface_segformer.py": torch.float32,  # upsampled in float32
    "huggingface_mask2former.py": torch.float32,
}
# Take the fused loss; data; needs Detectron2, and the metrics' libraries: see their own tests.
ELSEWHERE = {"gate.py", "warm_up.py", "synthetic.py", "detectron2_head.py", "measure.py"}


def test_every_recipe_is_listed() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == {*RECIPES, *ELSEWHERE}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[torch.dtype, bool]] = []
    original = functional.scnp

    def scnp(logits: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        calls.append((logits.dtype, torch.is_grad_enabled()))
        return original(logits, *arguments, **options)

    monkeypatch.setattr(modules, "scnp", scnp)
    monkeypatch.setattr(scnp_kernels, "scnp", scnp)
    names = run_recipe(name)
    losses, validation = names["losses"], names["validation"]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
    assert 0 < validation < float("inf")
    assert "training loss" in capsys.readouterr().out
    # Nothing is penalized where no gradient is wanted.
    assert set(calls) == {(RECIPES[name], True)}
    assert len(calls) >= len(losses)


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
def test_recipes_are_short(file: Any) -> None:
    if file.is_file():
        assert len(file.read_text().splitlines()) < 60
