"""What gets compiled and how: the same for setup.py and for compiling on first use.

setup.py reads this file before there is a package or a torch, so it imports neither.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

VARIABLE = "SCNP_BUILD"
CHOICES = ("auto", "none", "cpu", "cuda")


def build_choice() -> str:
    """What ``SCNP_BUILD`` asks for; ``FORCE_CUDA=1`` is another way to ask for ``cuda``.

    - ``auto``: compile what can be compiled; otherwise go without, and say so.
    - ``none``: compile nothing, neither at installation nor on first use.
    - ``cpu``: the CPU kernels alone, or fail.
    - ``cuda``: the CPU and the CUDA kernels, or fail.

    Raises:
        ValueError: The variable holds something else, or the two contradict each other.
    """
    choice = os.environ.get(VARIABLE, "auto") or "auto"
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE}: got {choice!r}, takes {', '.join(CHOICES)}")
    if os.environ.get("FORCE_CUDA") == "1":
        if choice not in ("auto", "cuda"):
            raise ValueError(f"FORCE_CUDA: got '1' beside {VARIABLE}={choice}; takes one of them")
        return "cuda"
    return choice


def sources(csrc: Path, with_cuda: bool) -> list[Path]:
    """The translation units of the module ``_C``."""
    units = [file for file in csrc.rglob("*.cpp") if with_cuda or "cuda" not in file.name]
    if with_cuda:
        units += csrc.rglob("*.cu")
    return sorted(units)


def sources_digest(csrc: Path) -> str:
    """What a binary was compiled from: written into it, and compared before it is loaded.

    Of the code alone, whatever else an editor leaves beside it.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in csrc.rglob("*") if path.suffix in (".h", ".cpp", ".cu")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(csrc).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def compile_flags(csrc: Path, cuda_version: str | None) -> list[str]:
    """Flags for the C++ compiler, beside those that torch adds; ``CXXFLAGS`` last.

    Nothing else here depends on the machine that compiles: the binary runs on every machine of its
    architecture. ``cuda_version`` is nvcc's, for a build with CUDA kernels.
    """
    defines = [f"-DSCNP_SOURCES={sources_digest(csrc)}"]
    if cuda_version is not None:
        defines.append(f"-DSCNP_WITH_CUDA={cuda_version}")
    # Here, since torch's builds read CFLAGS at most.
    asked_for = shlex.split(os.environ.get("CXXFLAGS", ""), posix=os.name != "nt")
    if os.name == "nt":
        return ["/O2", *defines, *asked_for]
    # Without fused multiply-adds, every instruction set computes the same bits. Nobody here asks
    # for floating-point exceptions, and promising that lets loops that choose values vectorise.
    rounding = ["-ffp-contract=off", "-fno-trapping-math"]
    flags = ["-O3", "-g0", "-fvisibility=hidden", *rounding, *defines]
    if sys.platform == "linux":
        # Without it, torch's parallel loops compile to serial ones. Compiled only, not linked: the
        # OpenMP that torch has loaded serves, so that there is one pool of threads.
        flags.append("-fopenmp")
    return [*flags, *asked_for]


def nvcc_flags() -> list[str]:
    """Flags for nvcc, beside those that torch adds."""
    return ["-O3"]
