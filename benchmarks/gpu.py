"""Measure the GPU kernels against the listing and its compiled version: ``make bench DEVICE=cuda``.

    python -m benchmarks.gpu --report build/gpu_report.md

Latency by CUDA events, medians of calls on inputs that take turns; peak memory by torch's
allocator; GB/s of the least that must move, and its share of what a copy of the logits moves on
this card. Nothing is timed before its values and gradient are compared with the listing's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import gpu_loss
from benchmarks.kernels import peers
from benchmarks.kernels.cases import Case
from benchmarks.kernels.memory import least_bytes
from scnp_kernels import scnp
from scnp_kernels.backends import registry as backend_registry
from tests.gpu_test.report import machine, replace_section

DEVICE = torch.device("cuda")
TITLE = "## make bench DEVICE=cuda"
# Appendix B of the paper, then larger windows and half types.
CASES = [
    Case((2, 2, 1280, 1024)),
    Case((2, 3, 160, 128, 112)),
    Case((2, 2, 1280, 1024), 5),
    Case((2, 2, 1280, 1024), 7),
    Case((1, 2, 96, 96, 96), 5),
    Case((2, 2, 1280, 1024), dtype=torch.bfloat16),
    Case((2, 3, 160, 128, 112), dtype=torch.bfloat16),
]
INPUTS = 4
WARMUP, ROUNDS = 5, 50

Run = Callable[["Buffer"], Tensor]


class Buffer:
    """One input on the GPU."""

    def __init__(self, case: Case, seed: int) -> None:
        generator = torch.Generator(DEVICE).manual_seed(seed)
        batch, channels, *spatial = case.shape
        values = [torch.randn(case.shape, device=DEVICE, generator=generator) for _ in range(2)]
        self.logits = values[0].to(case.dtype).requires_grad_()
        self.incoming = values[1].to(case.dtype)
        coarse = torch.rand((batch, 1, *(side // 16 + 2 for side in spatial)), device=DEVICE,
                            generator=generator)  # fmt: skip
        regions = F.interpolate(coarse, spatial)[:, 0] * channels  # squares of about 16 pixels
        self.labels = regions.long().clamp(max=channels - 1)  # [B, *spatial]
        one_hot = F.one_hot(self.labels, channels).movedim(-1, 1)
        self.one_hot = one_hot.to(case.dtype).contiguous()


@dataclass(frozen=True)
class Measured:
    """Of one implementation on one case: medians."""

    forward_ms: float
    backward_ms: float
    peak_bytes: int  # beyond inputs, result and gradient


def implementations(case: Case) -> dict[str, Run]:
    """By name; ours is what ``backend="auto"`` takes."""
    listing_compiled = peers.compiled_listing()
    size = case.kernel_size
    ours = backend_registry.choose("auto", DEVICE).name
    return {
        "listing": lambda b: peers.listing(b.logits, b.one_hot, size),
        "listing compiled": lambda b: listing_compiled(b.logits, b.one_hot, size),
        f"scnp {ours}": lambda b: scnp(b.logits, b.labels, size),
    }


def check(name: str, case: Case, run: Run, buffer: Buffer) -> None:
    """Compare with the listing, ours bit for bit.

    Raises:
        AssertionError: It computes something else: its time would mean nothing.
    """
    penalized = run(buffer)
    (gradient,) = torch.autograd.grad(penalized, buffer.logits, buffer.incoming)
    wanted = peers.listing(buffer.logits, buffer.one_hot, case.kernel_size)
    wide = buffer.logits.detach().float().requires_grad_()
    in_float = peers.listing(wide, buffer.one_hot.float(), case.kernel_size)
    # Pooling adds gradients up by atomics on a GPU: in another order every time.
    (wanted_gradient,) = torch.autograd.grad(in_float, wide, buffer.incoming.float())
    torch.testing.assert_close(penalized, wanted, rtol=0, atol=0, msg=f"{name} on {case.name}")
    tolerance = 64 * torch.finfo(case.dtype).eps
    torch.testing.assert_close(
        gradient.float(), wanted_gradient, rtol=tolerance, atol=tolerance, msg=f"{name}: gradient"
    )


def measure(run: Run, buffers: list[Buffer]) -> Measured:
    """Medians over ROUNDS calls, after WARMUP."""
    forward, backward = [], []
    for number in range(WARMUP + ROUNDS):
        buffer = buffers[number % len(buffers)]
        events = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        events[0].record()
        penalized = run(buffer)
        events[1].record()
        torch.autograd.grad(penalized, buffer.logits, buffer.incoming)
        events[2].record()
        torch.cuda.synchronize()
        if number >= WARMUP:
            forward.append(events[0].elapsed_time(events[1]))
            backward.append(events[1].elapsed_time(events[2]))
        del penalized
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    penalized = run(buffers[0])
    (gradient,) = torch.autograd.grad(penalized, buffers[0].logits, buffers[0].incoming)
    results = sum(t.untyped_storage().nbytes() for t in (penalized, gradient))
    peak = torch.cuda.max_memory_allocated() - before - results
    return Measured(statistics.median(forward), statistics.median(backward), peak)


def copy_ms(buffers: list[Buffer]) -> float:
    """A copy of the logits: the card's own bandwidth."""
    destination = torch.empty_like(buffers[0].logits.detach())
    times = []
    for number in range(WARMUP + ROUNDS):
        source = buffers[number % len(buffers)].logits.detach()
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        destination.copy_(source)
        events[1].record()
        torch.cuda.synchronize()
        if number >= WARMUP:
            times.append(events[0].elapsed_time(events[1]))
    return float(statistics.median(times))


def rows(case: Case) -> list[str]:
    """Measure one case: a row of the table for each implementation."""
    buffers = [Buffer(case, seed) for seed in range(INPUTS)]
    copied = copy_ms(buffers)
    copy_gbs = 2 * case.logits * case.dtype.itemsize / copied / 1e6
    least_forward, least_backward = least_bytes(case)
    lines = []
    for name, run in implementations(case).items():
        check(name, case, run, buffers[0])
        found = measure(run, buffers)
        cells = [f"{case.name}", name]
        for milliseconds, least in (
            (found.forward_ms, least_forward),
            (found.backward_ms, least_backward),
        ):
            gbs = least / milliseconds / 1e6
            cells += [f"{milliseconds:.3f}", f"{gbs:.0f}", f"{gbs / copy_gbs:.0%}"]
        cells.append(f"{found.peak_bytes / 2**20:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    lines.append(f"| {case.name} | copy of the logits | {copied:.3f} | {copy_gbs:.0f} |||||")
    return lines


def main() -> int:
    """Measure everything; write the report's section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: torch sees no GPU here, so there is nothing to measure", file=sys.stderr)
        return 1
    head = "| case | | fwd ms | GB/s | of copy | bwd ms | GB/s | of copy | peak MiB |"
    lines = [*machine(), "", head, "|---" * 9 + "|"]
    for case in CASES:
        lines += rows(case)
    lines += gpu_loss.table()
    replace_section(options.report, TITLE, lines)
    print(f"Wrote {options.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
