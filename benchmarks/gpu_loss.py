"""Measure the fused loss on a GPU against plain Dice + cross entropy, and against SCNP before it.

Part of ``make bench DEVICE=cuda``: forward and backward together, by CUDA events, medians of calls
on inputs that take turns; peak memory beyond the inputs and the gradient. Nothing is timed before
its value and gradient are compared with the eager composition's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import peers
from scnp_kernels import scnp, scnp_dice_ce_loss

DEVICE = torch.device("cuda")
# Appendix B of the paper, then more classes.
SHAPES = [
    (2, 2, 1280, 1024),
    (2, 3, 160, 128, 112),
    (2, 4, 1024, 1024),
    (2, 16, 512, 512),
    (2, 16, 96, 96, 96),
]
INPUTS = 4
WARMUP, ROUNDS = 5, 30
HEAD = "| shape | loss | forward + backward ms | against plain, the faster | peak MiB |"
PLAIN = ("plain", "plain compiled")

Loss = Callable[[Tensor, Tensor], Tensor]  # logits, labels


def dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice + cross entropy as it is written without kernels."""
    pixels = tuple(range(2, logits.dim()))
    probability = logits.softmax(dim=1)
    one_hot = torch.zeros_like(probability).scatter_(1, labels.unsqueeze(1), 1)
    intersection = (probability * one_hot).sum(pixels)
    cardinality = probability.sum(pixels) + one_hot.sum(pixels)
    dice = (2 * intersection + 1e-5) / (cardinality + 1e-5)
    return F.cross_entropy(logits, labels) + 1 - dice.mean()


def _listing_dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    one_hot = torch.zeros_like(logits).scatter_(1, labels.unsqueeze(1), 1)
    return dice_ce(peers.listing(logits, one_hot, 3), labels)


def losses() -> dict[str, tuple[Loss, Loss]]:
    """By name: the loss, and the eager one that it must equal."""

    def penalized(logits: Tensor, labels: Tensor) -> Tensor:
        return dice_ce(scnp(logits, labels), labels)

    return {
        "plain": (dice_ce, dice_ce),
        "plain compiled": (torch.compile(dice_ce, dynamic=False), dice_ce),
        "listing + plain": (_listing_dice_ce, penalized),
        "listing + plain, compiled": (torch.compile(_listing_dice_ce, dynamic=False), penalized),
        "scnp + plain": (penalized, penalized),
        "scnp + plain, compiled": (torch.compile(penalized, dynamic=False), penalized),
        "fused": (scnp_dice_ce_loss, penalized),
        "fused joint": (
            lambda z, y: scnp_dice_ce_loss(z, y, plain_weight=1),
            lambda z, y: penalized(z, y) + dice_ce(z, y),
        ),
        "fused, plain only": (
            lambda z, y: scnp_dice_ce_loss(z, y, scnp_weight=0, plain_weight=1),
            dice_ce,
        ),
    }


def _inputs(shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    batch, classes, *spatial = shape
    logits = torch.randn(shape, device=DEVICE, generator=generator).requires_grad_()
    coarse = torch.rand(
        (batch, 1, *(side // 16 + 2 for side in spatial)), device=DEVICE, generator=generator
    )
    regions = F.interpolate(coarse, spatial)[:, 0] * classes  # squares of about 16 pixels
    return logits, regions.long().clamp(max=classes - 1)


def check(name: str, loss: Loss, expected: Loss, logits: Tensor, labels: Tensor) -> None:
    """Compare value and gradient.

    Raises:
        AssertionError: It computes something else: its time would mean nothing.
    """
    values = [function(logits, labels) for function in (loss, expected)]
    gradients = [torch.autograd.grad(value, logits)[0] for value in values]
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5, msg=name)
    largest = gradients[1].abs().max().item()
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-4 * largest, msg=f"{name}: gradient")


def measure(loss: Loss, inputs: list[tuple[Tensor, Tensor]]) -> tuple[float, int]:
    """(median milliseconds, peak bytes)."""
    times = []
    for number in range(WARMUP + ROUNDS):
        logits, labels = inputs[number % len(inputs)]
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        torch.autograd.grad(loss(logits, labels), logits)
        events[1].record()
        torch.cuda.synchronize()
        if number >= WARMUP:
            times.append(events[0].elapsed_time(events[1]))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    logits, labels = inputs[0]
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    peak = torch.cuda.max_memory_allocated() - before - gradient.untyped_storage().nbytes()
    return statistics.median(times), peak


def rows(shape: tuple[int, ...]) -> list[str]:
    """Measure one shape: a row of the table for each loss."""
    inputs = [_inputs(shape, seed) for seed in range(INPUTS)]
    found: dict[str, tuple[float, int]] = {}
    torch._dynamo.reset()
    for name, (loss, expected) in losses().items():
        check(name, loss, expected, *inputs[0])
        found[name] = measure(loss, inputs)
    plain = min(found[name][0] for name in PLAIN)
    lines = [
        f"| {'x'.join(map(str, shape))} | {name} | {milliseconds:.3f} "
        f"| {milliseconds / plain:.2f} | {peak / 2**20:.1f} |"
        for name, (milliseconds, peak) in found.items()
    ]
    print("\n".join(lines), flush=True)
    return lines


def table() -> list[str]:
    """All shapes."""
    lines = ["", "Dice + cross entropy, forward and backward, float32, int64 labels:", ""]
    lines += [HEAD, "|---" * 5 + "|"]
    for shape in SHAPES:
        lines += rows(shape)
    return lines
