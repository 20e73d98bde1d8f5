"""How fast SCNP is on this machine, and what to do where it is slow: ``python -m scnp_kernels``."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import deterministic

from .backends.native import loader as native
from .backends.registry import VARIABLE, backends, choose
from .functional import scnp

SMALL = (1, 2, 64, 64)  # [B, C, H, W]
LARGE = (512, 256, 128)  # sides; the first for which the time is enough
SECONDS = 1.4  # for all rounds; the first calls come on top
KERNEL_SIZE = 3
# Kernels that are at their best are several times as far ahead on the large image.
EXPECTED = 4.0

_INSTRUCTION_SETS = ("portable", "avx2", "avx512")  # the lowest first


class Timing(NamedTuple):
    """Medians of forward + backward, in milliseconds."""

    shape: tuple[int, ...]
    ours: float
    listing: float

    @property
    def speed_up(self) -> float:
        """How many times as long the listing takes."""
        return self.listing / self.ours


@dataclass(frozen=True)
class Setting:
    """What decides how fast SCNP is on this machine."""

    device: str  # "cpu" or "cuda"
    backend: str  # that "auto" chooses there
    states: Mapping[str, str]  # of all backends: "ok", or why not
    capability: str = ""  # the instruction set in use; "": there are no compiled kernels
    built_for: tuple[str, ...] = ()  # the instruction sets that the kernels were compiled for
    offered: str = "portable"  # the best one that the machine has
    parallel: bool = True  # whether the kernels were compiled with OpenMP
    threads: int = 1
    cores: int = 1
    fills_memory: bool = False  # whether torch fills all fresh memory
    variables: Mapping[str, str] = field(default_factory=dict)  # those that are set


def report(
    clock: Callable[[], float] = time.perf_counter, seconds: float = SECONDS
) -> tuple[dict[str, str], list[str]]:
    """Return the rows of the timings, and what to do where it is slow."""
    setting = observe()
    small = measure(SMALL, setting.device, clock, seconds / 2)
    large = measure(large_shape(small, seconds / 2), setting.device, clock, seconds / 2)
    timings = [small, large]
    return dict(map(describe, timings)), remedies(setting, timings)


def observe() -> Setting:
    """Return what is the case here. A GPU's kernels are loaded by it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    record = native.build_record() or {}
    best = {"AVX512": "avx512", "AVX2": "avx2"}.get(torch.backends.cpu.get_cpu_capability())
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    names = (VARIABLE, "SCNP_CPU_CAPABILITY", "SCNP_KEEP_MEBIBYTES", "TRITON_INTERPRET")
    return Setting(
        device=device,
        backend=choose("auto", torch.device(device)).name,
        states=backends(),
        capability=record.get("capability", ""),
        built_for=tuple(record.get("targets", ())),
        offered=best or "portable",
        parallel=record.get("parallel", "openmp") == "openmp",
        threads=torch.get_num_threads(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        fills_memory=torch.are_deterministic_algorithms_enabled()
        and deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        variables={name: os.environ[name] for name in names if os.environ.get(name)},
    )


def measure(
    shape: tuple[int, ...], device: str, clock: Callable[[], float], seconds: float
) -> Timing:
    """Time the chosen backend and the listing in turns, until the seconds are over.

    The first call of each, which may compile, is not counted.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    masks = F.one_hot(labels, shape[1]).movedim(-1, 1).float().contiguous().to(device)
    logits = torch.randn(shape, generator=generator).to(device).requires_grad_()
    incoming = torch.randn(shape, generator=generator).to(device)
    labels = labels.to(device)

    def milliseconds(forward: Callable[[], Tensor]) -> float:
        start = clock()
        torch.autograd.grad(forward(), logits, incoming)
        if device == "cuda":
            torch.cuda.synchronize()
        return 1e3 * (clock() - start)

    subjects = (
        lambda: scnp(logits, labels, KERNEL_SIZE),
        lambda: listing(logits, masks, KERNEL_SIZE),
    )
    for subject in subjects:
        milliseconds(subject)
    begin = clock()
    samples: tuple[list[float], list[float]] = ([], [])
    while not samples[0] or clock() - begin < seconds:
        for subject, its_samples in zip(subjects, samples, strict=True):
            its_samples.append(milliseconds(subject))
    return Timing(shape, *map(statistics.median, samples))


def large_shape(small: Timing, seconds: float) -> tuple[int, ...]:
    """Return the largest image of which two calls of each are done in time, by the small one."""
    images, channels, height, width = small.shape
    of_pixel = (small.ours + small.listing) / (height * width)  # milliseconds
    fits = [side for side in LARGE if 2 * of_pixel * side**2 <= 1e3 * seconds]
    side = fits[0] if fits else LARGE[-1]
    return images, channels, side, side


def listing(logits: Tensor, masks: Tensor, window: int) -> Tensor:
    """Return the penalized logits ``[B, C, H, W]`` as the paper computes them (Appendix A)."""
    sentinel = 9999

    def most(values: Tensor) -> Tensor:
        return F.max_pool2d(values, window, stride=1, padding=window // 2)

    foreground = -most(-(logits * masks + sentinel * (1 - masks)))
    background = most(logits * (1 - masks) - sentinel * masks)
    return foreground * masks + background * (1 - masks)


def describe(timing: Timing) -> tuple[str, str]:
    """Return a row of the report: the shape, and how the two compare."""
    speed_up = timing.speed_up
    compared = f"{speed_up:.1f}x as fast" if speed_up >= 1 else f"{1 / speed_up:.1f}x as slow"
    return (
        "x".join(map(str, timing.shape)),
        f"{timing.ours:.3g} ms forward + backward, the listing {timing.listing:.3g} ms: {compared}",
    )


def remedies(setting: Setting, timings: list[Timing]) -> list[str]:
    """Return what makes SCNP slow here, each with what to do about it; empty if nothing is known.

    Of the figures only the last, of the largest image, is judged, and only where no other reason is
    known.
    """
    found = []
    if setting.backend == "reference":
        found.append(_of_reference(setting))
    if setting.backend == "cuda":
        found.append(f"runs on cuda, not on triton: {setting.states['triton']}")
    if "TRITON_INTERPRET" in setting.variables and "interpreted" in setting.states["triton"]:
        found.append("TRITON_INTERPRET runs Triton's kernels as Python: unset it but for debugging")
    if setting.device == "cpu" and setting.backend == "cpu":
        found.extend(_of_cpu(setting))
    if setting.fills_memory:
        found.append(
            "torch.use_deterministic_algorithms fills all fresh memory, which SCNP does not need: "
            "torch.utils.deterministic.fill_uninitialized_memory = False"
        )
    slowest = timings[-1].speed_up if timings else EXPECTED
    if not found and slowest < EXPECTED:
        found.append(
            f"{slowest:.1f}x as fast as the listing is less than the {EXPECTED:g}x that are "
            "expected, and nothing here says why: most often other programs were running; if it "
            "stays so on a quiet machine, report it with all of the above"
        )
    return found


def _of_reference(setting: Setting) -> str:
    forced = setting.variables.get(VARIABLE)
    if forced == "reference":
        return f"{VARIABLE}=reference takes the slow reference backend: unset it"
    better = ("triton", "cuda") if setting.device == "cuda" else ("cpu",)
    reasons = "; ".join(f"{name}: {setting.states[name]}" for name in better)
    return f"runs on the slow reference backend, since the others cannot run ({reasons})"


def _of_cpu(setting: Setting) -> list[str]:
    found = []
    order = _INSTRUCTION_SETS.index
    if setting.capability and order(setting.capability) < order(setting.offered):
        forced = "SCNP_CPU_CAPABILITY" in setting.variables
        remedy = (
            "unset SCNP_CPU_CAPABILITY"
            if forced and setting.offered in setting.built_for
            else f"compile the kernels again by a compiler that knows {setting.offered}"
        )
        found.append(
            f"the kernels run with {setting.capability} instructions, but the machine has "
            f"{setting.offered}: {remedy}"
        )
    if not setting.parallel:
        found.append(
            "the kernels were compiled without OpenMP and run on one thread: compile them again by "
            "a compiler with OpenMP (GCC)"
        )
    elif setting.threads == 1 < setting.cores:
        found.append(
            f"torch runs on 1 thread of {setting.cores}: torch.set_num_threads({setting.cores}) or "
            f"OMP_NUM_THREADS={setting.cores} (1 is right in the workers of a DataLoader)"
        )
    if setting.variables.get("SCNP_KEEP_MEBIBYTES") == "0":
        found.append(
            "SCNP_KEEP_MEBIBYTES=0 lets every large result land on fresh pages, which costs more "
            "than to compute it: unset it where memory allows"
        )
    return found
