"""``inplace_backward=True``: the same gradient, to the last bit, in the logits' own memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scnp_kernels.backends import in_slabs
from scnp_kernels.backends.native import loader
from scnp_kernels.backends.native import operators as native
from tests import generators as g
from tests.cases import DTYPES, Case
from tests.contract.test_capabilities import _capabilities_of_this_machine
from tests.fused_loss_cases import FUSED_CASES, SPECIAL_CASES, FusedCase, outcome_by
from tests.loss.inplace_backward.calls import same_bits


def _copy_with_layout(tensor: Tensor) -> Tensor:
    """A copy whose memory looks the same, gaps between the elements included."""
    copy = tensor.new_empty(0)
    layout = (tensor.storage_offset(), tensor.shape, tensor.stride())
    return copy.set_(tensor.untyped_storage().clone(), *layout)


def _in_slabs(*arguments: Any) -> None:
    """What a GPU does, with the CPU's kernels."""
    logits: Tensor = arguments[2]
    in_slabs.backward(native.dice_ce_backward, logits.shape[1] * logits.dtype.itemsize, *arguments)


assert loader.load() is None  # why not
PATHS = {"cpu": native.dice_ce_backward_in_place, "slabs": _in_slabs}


def _compare(fused: FusedCase, in_place: Callable[..., None]) -> None:
    """The gradient in place equals the one elsewhere, and touches nothing but the logits."""

    def backward(of_sums: Tensor, winners: Tensor, logits: Tensor, *rest: Any) -> Tensor:
        overwritten = _copy_with_layout(logits)
        whole = overwritten.new_empty(0).set_(overwritten.untyped_storage())
        before = whole.clone()
        in_place(of_sums, winners, overwritten, *rest)
        result = overwritten.clone()
        overwritten.copy_(logits)
        assert torch.equal(whole.view(torch.uint8), before.view(torch.uint8))
        return result

    elsewhere = outcome_by(native.dice_ce_forward, native.dice_ce_backward, fused, fused.dtype)
    in_its_place = outcome_by(native.dice_ce_forward, backward, fused, fused.dtype)
    assert same_bits(in_its_place.gradient, elsewhere.gradient)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fused", FUSED_CASES + SPECIAL_CASES, ids=lambda fused: fused.name)
def test_the_same_bits(fused: FusedCase, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_slabs, "_SMALL", 0)  # slabs as short as they get
    _compare(fused, PATHS[path])


@pytest.mark.parametrize("fused", FUSED_CASES, ids=lambda fused: fused.name)
def test_the_same_bits_in_strips(fused: FusedCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cut of small images, strips of one pixel included."""
    plan = in_slabs.plan
    for length, width in ((1, 1), (2, 3), (3, 100)):

        def cut(*arguments: Any, length: int = length, width: int = width) -> in_slabs.Plan:
            chosen = plan(*arguments)
            return chosen._replace(images=1, length=max(length, chosen.halo), width=width)

        monkeypatch.setattr(in_slabs, "plan", cut)
        _compare(fused, _in_slabs)


# Larger than a tile, so that neighbours need what others overwrite; those of several images need
# more for their halos than may be kept at once.
_MASK = g.valid_pixels(0.8)
TILED = [
    FusedCase(Case("volume", "", (3, 3, 40, 36, 50)), of_plain=True),
    FusedCase(Case("volume_5", "", (2, 2, 30, 64, 70), (3, 5, 5), mask=_MASK), of_plain=True),
    FusedCase(Case("rows", "", (3, 2, 700, 90), gate=_MASK), softmax=False),
    FusedCase(Case("rows_11", "", (1, 3, 300, 200), 11), of_plain=True, gamma=2.0),
    FusedCase(Case("columns", "", (1, 2, 40, 3000), 5), of_plain=True),
    FusedCase(Case("line", "", (2, 3, 20_000), 9)),
    FusedCase(Case("last", "", (2, 3, 20, 60, 70), layout=g.channels_last), of_plain=True),
    FusedCase(Case("plain", "", (2, 3, 20, 60, 70)), of_penalized=False, of_plain=True),
    FusedCase(Case("wide", "2-byte winners", (1, 2, 90, 300), 17), of_plain=True),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("fused", TILED, ids=lambda fused: fused.name)
def test_tiles_that_need_each_other(fused: FusedCase, threads: int, path: str) -> None:
    torch.set_num_threads(threads)
    dtype = DTYPES[(TILED.index(fused) + threads) % len(DTYPES)]
    _compare(FusedCase(fused.case, dtype, *_rest(fused)), PATHS[path])


def _rest(fused: FusedCase) -> tuple[bool, bool, bool, float]:
    return (fused.softmax, fused.of_penalized, fused.of_plain, fused.gamma)


@pytest.mark.parametrize("capability", _capabilities_of_this_machine())
def test_every_instruction_set(capability: str) -> None:
    program = (
        "from tests.loss.inplace_backward import test_bits as t\n"
        "from scnp_kernels.backends.native import loader\n"
        "import torch; torch.set_num_threads(2)\n"
        "for number, fused in enumerate((*t.FUSED_CASES, *t.TILED)):\n"
        "    dtype = t.DTYPES[number % 4]\n"
        "    fused = t.FusedCase(fused.case, dtype, *t._rest(fused))\n"
        "    t._compare(fused, t.PATHS['cpu'])\n"
        "print(loader.build_record()['capability'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "SCNP_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [capability]
