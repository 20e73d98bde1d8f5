"""What gets compiled and how: the same for setup.py and for compiling on first use.

setup.py reads this file before there is a package or a torch, so it imports neither.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "SCNP_BUILD"
CHOICES = ("auto", "none", "cpu", "cuda")


def build_choice() -> str:
    """What ``SCNP_BUILD`` asks for.

    - ``auto``: compile what can be compiled; otherwise go without, and say so.
    - ``none``: compile nothing, neither at installation nor on first use.
    - ``cpu``: the CPU kernels, or fail.
    - ``cuda``: the CUDA kernels, or fail.

    Raises:
        ValueError: The variable holds something else.
    """
    choice = os.environ.get(VARIABLE, "auto") or "auto"
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE}: got {choice!r}, takes {', '.join(CHOICES)}")
    if choice == "cuda":
        raise ValueError(
            f"{VARIABLE}: got 'cuda', but this version of scnp_kernels has no CUDA C++ kernels "
            "yet; takes auto, none or cpu"
        )
    return choice


def sources(csrc: Path) -> list[Path]:
    """The translation units of the module ``_C``."""
    return [csrc / "module.cpp", *sorted((csrc / "cpu").glob("*.cpp"))]


def compile_flags() -> list[str]:
    """Flags for the C++ compiler, beside those that torch adds.

    Nothing here depends on the machine that compiles: the binary runs on every machine of its
    architecture.
    """
    if os.name == "nt":
        return ["/O2"]
    flags = ["-O3", "-g0", "-fvisibility=hidden"]
    if sys.platform == "linux":
        # Without it, torch's parallel loops compile to serial ones. Compiled only, not linked: the
        # OpenMP that torch has loaded serves, so that there is one pool of threads.
        flags.append("-fopenmp")
    return flags
