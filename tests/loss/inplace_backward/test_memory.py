"""What ``inplace_backward=True`` takes: a byte per logit and statistics."""

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
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.memory import peak_of
from scnp_kernels import scnp_dice_ce_loss
from scnp_kernels.backends import in_slabs
from scnp_kernels.backends.native import operators as native
from scnp_kernels.rules.dice_ce import Wanted
from scnp_kernels.rules.target import Reading
from tests import generators as g
from tests.cases import DTYPES
from tests.loss.inplace_backward.calls import head, inputs, same_bits

SHAPE = (2, 2, 320, 384)  # small enough for results to come from torch's allocator


def _peak(run: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    return peak_of(profiler)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_peak_of_tensors(dtype: torch.dtype, plain_weight: float) -> None:
    """1 byte per logit, and statistics; elsewhere the gradient comes on top."""
    torch.use_deterministic_algorithms(False)
    leaf, labels = inputs(SHAPE, dtype)
    logits_count = leaf.numel()
    peaks = []
    for in_place in (True, False):
        held: list[Tensor] = [head(leaf)]

        def run(in_place: bool = in_place, held: list[Tensor] = held) -> Tensor:
            logits = held[0]
            loss = scnp_dice_ce_loss(
                logits, labels, plain_weight=plain_weight, inplace_backward=in_place
            )
            return torch.autograd.grad(loss, logits)[0]

        peaks.append(_peak(run) / logits_count)
    assert peaks[0] <= 1.1
    assert peaks[1] == pytest.approx(1 + dtype.itemsize, abs=0.1)


WHOLE_PROCESS = """
import sys, torch
from scnp_kernels import scnp_dice_ce_loss
torch.set_num_threads(2)
def high_water():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
def inputs(shape):
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), dtype=torch.uint8)
    return torch.zeros(shape, dtype=torch.float16, requires_grad=True) * 1, labels
def step(logits, labels):
    loss = scnp_dice_ce_loss(logits, labels, inplace_backward=sys.argv[1] == "True")
    return torch.autograd.grad(loss, logits)[0]
# So large that what the process takes for its own (pages of code, stacks: 2 to 4 MB) is below 0.03.
for shape in ((2, 2, 8192, 4096), (4, 4, 160, 160, 320)):
    step(*inputs((2, shape[1], *(64 for _ in shape[2:]))))  # loads the code, wakes the threads
    logits, labels = inputs(shape)
    open("/proc/self/clear_refs", "w").write("5")
    before = high_water()
    step(logits, labels)
    print((high_water() - before) / logits.numel())
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux's kernel")
def test_peak_of_the_whole_process() -> None:
    """With what the kernels take for themselves, which no allocator of torch's sees."""

    def measure(in_place: bool) -> list[float]:
        result = subprocess.run(
            [sys.executable, "-c", WHOLE_PROCESS, str(in_place)],
            env={**os.environ, "SCNP_KEEP_MEBIBYTES": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return [float(line) for line in result.stdout.split()]

    assert max(measure(in_place=True)) <= 1.1
    assert min(measure(in_place=False)) >= 2.9


# Bytes that a GPU's kernels take per pixel beside the gradient: softmax's common parts, joint.
COMMON = 16


@pytest.mark.parametrize("shape", [(2, 2, 2048, 1024), (2, 3, 96, 96, 96), (1, 4, 400, 60, 60)])
@pytest.mark.parametrize("common", [0, COMMON])
def test_peak_of_slabs(shape: tuple[int, ...], common: int) -> None:
    """On a GPU all that slabs take comes from torch's allocator, which is counted here."""
    torch.use_deterministic_algorithms(False)
    leaf, labels = inputs(shape, torch.float16)
    images = leaf.detach(), labels, None
    reading = Reading(False, 0, shape[1], None, False)
    how = (3,) * (len(shape) - 2), reading, Wanted(True, True, True)
    statistics, winners = native.dice_ce_forward(*images, None, *how)
    gradient = torch.randn(statistics.shape, generator=g.seeded(0), dtype=torch.float64)
    expected = native.dice_ce_backward(gradient, winners, *images, *how)

    def kernels(*arguments: Any) -> Tensor:
        logits: Tensor = arguments[2]
        taken = torch.empty(logits.shape[0] * logits[0, 0].numel() * common, dtype=torch.uint8)
        result = native.dice_ce_backward(*arguments)
        del taken
        return result

    per_pixel = shape[1] * 2 + common
    peak = _peak(lambda: in_slabs.backward(kernels, per_pixel, gradient, winners, *images, *how))
    assert peak / leaf.numel() <= 0.1
    assert same_bits(images[0], expected)


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ((2, 2, 1280, 1024), 1.1),
        ((2, 3, 160, 128, 112), 2.5),
        ((1, 2, 128, 128, 128), 4.5),  # the budget of one small image: nearest to it
        ((64, 2, 256, 256), 1.1),
        ((8, 3, 100_000), 1.1),
    ],
)
def test_how_much_slabs_compute_twice(shape: tuple[int, ...], most: float) -> None:
    window = (3,) * (len(shape) - 2)
    cut = in_slabs.plan(shape, 2, shape[1] * 2 + COMMON, window, Wanted(True, True, True))
    size = shape[2 + cut.axis]
    others = shape[2 + cut.across] if cut.across != cut.axis else 1
    twice = min(size, cut.length + 2 * cut.halo) / cut.length
    twice *= min(others, cut.width + 2 * cut.halo_across) / cut.width
    assert 1 <= twice <= most
