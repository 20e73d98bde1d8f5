"""What is here, one fact a row; and a check for each backend that should run.

    python -m tests.gpu.day.machine triton reference

A backend that cannot run is a failed check with its reason: it must not drop out without a word.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from benchmarks.gpu import rows

PACKAGES = ("torch", "triton", "numpy", "pytest", "pytest-xdist", "hypothesis")


def main(backends: list[str]) -> int:
    """Return 0 if all backends run."""
    file, program = Path(os.environ["SCNP_ROWS"]), os.environ["SCNP_PROGRAM"]
    if "triton" in backends:
        for name, ask in FACTS.items():
            value = _asked(ask)
            print(f"{name}: {value}", flush=True)
            rows.append(file, {"kind": "fact", "name": name, "value": value})
    failed = 0
    for name in backends:
        reason = _asked(lambda name=name: _why_not(name))  # type: ignore[misc]
        state = "failed" if reason else "passed"
        failed += bool(reason)
        print(f"backend {name}: {state} {reason}", flush=True)
        rows.append(file, {"kind": "check", "program": program, "state": state,
                           "name": f"backend {name} runs", "reason": reason})  # fmt: skip
    return min(1, failed)


def _asked(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except Exception as error:  # whatever is missing or broken: it is a fact too
        return f"{type(error).__name__}: {error}"


def _why_not(name: str) -> str:
    """An empty string if the backend runs, after loading what it needs; else the reason."""
    from benchmarks.gpu import device
    from scnp_kernels.backends import registry

    registry.choose(device.backend_of(name), device.DEVICE)
    if name == "triton":
        chosen = registry.choose("auto", device.DEVICE).name
        if not device.REHEARSAL and chosen != "triton":
            return f'backend="auto" takes {chosen}'
    return ""


def _packages() -> str:
    return ", ".join(f"{name} {_asked(lambda n=name: metadata.version(n))}" for name in PACKAGES)  # type: ignore[misc]


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"torch sees none (CUDA {torch.version.cuda})"
    facts = torch.cuda.get_device_properties(0)
    return (
        f"{facts.name}, {facts.multi_processor_count} multiprocessors, "
        f"{facts.total_memory >> 30} GiB, compute capability {facts.major}.{facts.minor}, "
        f"L2 {facts.L2_cache_size >> 20} MiB, CUDA {torch.version.cuda}"
    )


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15)
    return " ".join((result.stdout or result.stderr).split())


def _backends() -> str:
    package = importlib.import_module("scnp_kernels")
    return ", ".join(f"{name}: {state}" for name, state in package.backends().items())


_ASKED_OF_SMI = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current"
_SMI = ("nvidia-smi", "--format=csv,noheader", f"--query-gpu={_ASKED_OF_SMI}")
FACTS: dict[str, Callable[[], str]] = {
    "GPU": _gpu,
    "nvidia-smi": lambda: _output(*_SMI),
    "Python": lambda: f"{platform.python_version()}, {platform.platform()}",
    "packages": _packages,
    "scnp_kernels": lambda: importlib.import_module("scnp_kernels").__version__,
    "revision": lambda: _output("git", "describe", "--always", "--dirty"),
    "cores": lambda: str(os.cpu_count()),
    "nvcc": lambda: _output("nvcc", "--version"),
    "ncu": lambda: _output("ncu", "--version"),
    "backends": _backends,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
