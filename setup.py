"""Builds the package: what gets compiled, and why. Prints its decision. Needs no torch.

a C++ compiler                             ->  `_C` with the CPU kernels
CUDA's nvcc, beside a torch that has CUDA  ->  and with the CUDA kernels
neither                                    ->  pure Python: the Triton and the reference backend
SCNP_BUILD=none|cpu|cuda, FORCE_CUDA=1     ->  by name: exactly that, or an error
"""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent.resolve()
NATIVE = HERE / "scnp_kernels" / "backends" / "native"
BUILD = SimpleNamespace(**runpy.run_path(str(NATIVE / "build.py")))
CUDA_TOOLKIT = SimpleNamespace(**runpy.run_path(str(NATIVE / "cuda_toolkit.py")))


class Decision(NamedTuple):
    choice: str
    words: str
    compiles: bool = True
    toolkit: Any = None  # for the CUDA kernels


def decide() -> Decision:
    """Raise ValueError where what was asked for cannot be done."""
    choice = BUILD.build_choice()
    reason = "SCNP_BUILD=none" if choice == "none" else BUILD.reason_against_compiling()
    if reason is not None:
        if choice in ("cpu", "cuda"):
            raise ValueError(f"SCNP_BUILD={choice} cannot be done: {reason}")
        return Decision(choice, f"PURE-PYTHON BUILD, no compiled kernels: {reason}", False)
    words = "compiling the CPU kernels"
    try:
        if choice == "cpu":
            raise ValueError("SCNP_BUILD=cpu")
        if choice == "auto" and not torch_has_cuda():
            raise ValueError("there is no torch with CUDA here (SCNP_BUILD=cuda needs none)")
        toolkit = CUDA_TOOLKIT.toolkit()
    except ValueError as error:
        if choice == "cuda":
            raise ValueError(f"SCNP_BUILD=cuda cannot be done: {error}") from None
        return Decision(choice, f"{words}\nwithout the CUDA kernels: {error}")
    words += f" and the CUDA kernels with {toolkit.nvcc}, for compute capabilities"
    return Decision(choice, f"{words} {';'.join(toolkit.architectures)}", toolkit=toolkit)


def torch_has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.version.cuda is not None


def say(message: str) -> None:
    print(f"\n{'=' * 78}\nscnp_kernels: {message}\n{'=' * 78}\n", file=sys.stderr, flush=True)


class BuildKernels(build_ext):
    """Compiles with ninja in ``build/native``, whose objects serve the next build.

    Unless asked for by name, a failed compilation leaves a pure-Python installation.
    """

    def run(self) -> None:
        try:
            super().run()
        except (OSError, subprocess.CalledProcessError) as error:
            if DECISION.choice != "auto":
                raise SystemExit(f"scnp_kernels: the kernels do not compile: {error}") from None
            self.extensions = []
            say(
                f"COMPILING FAILED, going on without compiled kernels: {error}\n"
                "The slow reference runs instead. SCNP_BUILD=cpu (or cuda) makes this an error."
            )

    def build_extension(self, extension: Extension) -> None:
        module = Path(self.get_ext_fullpath(extension.name))
        folder = HERE / "build" / "native"
        BUILD.compile_module(HERE / "csrc", folder, module.name, DECISION.toolkit)
        module.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / module.name, module)


try:
    DECISION = decide()
except ValueError as error:
    raise SystemExit(f"scnp_kernels: {error}") from None
say(DECISION.words)
setup(
    ext_modules=[Extension("scnp_kernels._C", [])] if DECISION.compiles else [],
    cmdclass={"build_ext": BuildKernels},
)
