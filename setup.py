"""Builds the package: what gets compiled, and why. Prints its decision. Needs no torch.

a C++ compiler                             ->  `_C` with the CPU kernels
CUDA's nvcc, beside a torch that has CUDA  ->  and with the CUDA kernels
neither                                    ->  pure Python: the Triton and the reference backend
SCNP_BUILD=none|cpu|cuda, FORCE_CUDA=1     ->  by name: exactly that, or an error
"""

from __future__ import annotations

import ctypes
import os
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
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
    """What is compiled, if anything is, and why so."""

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
    words = "compiling the CPU kernels (SCNP_BUILD=none leaves them out)"
    if choice == "cpu":
        return Decision(choice, words)
    try:
        if choice == "auto" and not torch_has_cuda():
            raise ValueError("there is no torch with CUDA here (SCNP_BUILD=cuda needs none)")
        toolkit = CUDA_TOOLKIT.toolkit()
    except ValueError as error:
        if choice == "cuda":
            raise ValueError(f"SCNP_BUILD=cuda cannot be done: {error}") from None
        return Decision(choice, f"{words}\nwithout the CUDA kernels: {error}")
    capabilities = ";".join(toolkit.architectures)
    words = (
        "compiling the CPU kernels and the CUDA kernels (SCNP_BUILD=cpu leaves the latter out)\n"
        f"with {toolkit.nvcc} for compute capabilities {capabilities} (TORCH_CUDA_ARCH_LIST)"
    )
    return Decision(choice, words, toolkit=toolkit)


def torch_has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.version.cuda is not None


def say(message: str) -> None:
    line = "=" * 78
    print(f"\n{line}\nscnp_kernels: {message}\n{line}\n", file=sys.stderr, flush=True)


def end_with_parent() -> None:
    """Have the system end this process when its parent has ended, by whatever it was ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class BuildKernels(build_ext):
    """Compiles with ninja in ``build/native``, whose objects serve the next build.

    Unless asked for by name, a failed compilation leaves a pure-Python installation.
    """

    def run(self) -> None:
        end_with_parent()
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
        import fcntl

        import pybind11

        module = Path(self.get_ext_fullpath(extension.name))
        folder = HERE / "build" / "native"
        folder.mkdir(parents=True, exist_ok=True)
        includes = [sysconfig.get_path("include"), pybind11.get_include()]
        path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
        ninja = [
            shutil.which("ninja", path=path) or "ninja",
            "-C",
            str(folder),
            "-f",
            "build.ninja",
        ]
        if os.environ.get("MAX_JOBS"):
            ninja.append(f"-j{os.environ['MAX_JOBS']}")
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
            (folder / "build.ninja").write_text(
                BUILD.ninja_file(HERE / "csrc", Path(module.name), includes, DECISION.toolkit)
            )
            subprocess.run(ninja, check=True, preexec_fn=end_with_parent)
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
