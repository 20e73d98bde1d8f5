"""``python -m scnp_kernels``: what is installed, what runs here and why, and how fast.

With a quick self-test, and what to do where it is slow. It takes about two seconds beside the time
in which Triton compiles.

Exits with status 1 if the self-test fails, or a variable holds what it does not take.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import metadata

import torch

from . import __version__, backends, scnp, speed_report
from .backends.native import loader as native
from .backends.registry import OK

VARIABLES = (
    "SCNP_BACKEND",
    "SCNP_CPU_CAPABILITY",
    "SCNP_KEEP_MEBIBYTES",
)


def main() -> int:
    """Print the report; return the exit status."""
    argparse.ArgumentParser(
        prog="python -m scnp_kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        return _report()
    except (ValueError, RuntimeError) as error:  # a variable that cannot be obeyed, for one
        print(f"error: {error}", file=sys.stderr)
        return 1


def _report() -> int:
    available = backends()
    results = {
        name: _self_test(name) if state == OK else f"not run: {state}"
        for name, state in available.items()
        if state.startswith(OK)
    }
    _section("Versions", _versions())
    _section("Build record of the compiled kernels", _build_record())
    _section("Variables", {name: os.environ.get(name, "not set") for name in VARIABLES})
    _section("Backends", available)
    _section("Self-test", results)
    if any(result.startswith("FAILED") for result in results.values()):
        return 1
    timings, remedies = speed_report.report()
    _section("Speed", timings)
    numbered = {f"{number}.": remedy for number, remedy in enumerate(remedies, 1)}
    _section("What makes it slow here", numbered or {"nothing": "that is known"})
    return 0


def _versions() -> dict[str, str]:
    return {
        "scnp_kernels": __version__,
        "torch": torch.__version__,
        "triton": _version_of("triton"),
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "CPU": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "CUDA devices": str(torch.cuda.device_count()),
    }


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _build_record() -> dict[str, str]:
    record = native.build_record()
    if record is None:
        return {"none": "no compiled kernels"}
    return {key: str(value) for key, value in record.items()}


def _self_test(backend: str) -> str:
    """A small case with a known answer, forward and backward."""
    device = "cuda" if backend in ("triton", "cuda") else "cpu"
    logits = torch.tensor([[[0.9, 0.2, -0.4, 0.8]]], device=device)  # [B=1, C=1, W=4]
    logits.requires_grad_()
    target = torch.tensor([[1, 1, 0, 0]], device=device)  # [B=1, W=4]
    expected = torch.tensor([[[0.2, 0.2, 0.8, 0.8]]])
    expected_gradient = torch.tensor([[[0.0, 2.0, 0.0, 2.0]]])
    try:
        penalized = scnp(logits, target, kernel_size=3, backend=backend)
        (gradient,) = torch.autograd.grad(penalized.sum(), logits)
    except (RuntimeError, ValueError) as error:
        return f"FAILED: {error}"
    penalized, gradient = penalized.cpu(), gradient.cpu()
    if torch.equal(penalized, expected) and torch.equal(gradient, expected_gradient):
        return OK
    return f"FAILED: got {penalized.tolist()} and gradient {gradient.tolist()}"


def _section(title: str, rows: dict[str, str]) -> None:
    print(title)
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
    print()


if __name__ == "__main__":
    sys.exit(main())
