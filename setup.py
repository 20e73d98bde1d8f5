"""Builds the package: what gets compiled, and why. Prints its decision.

torch in the build environment, and a C++ compiler   ->  `_C` is compiled now, with CUDA kernels
                                                         where torch has CUDA and nvcc fits it
otherwise (plain `pip install .`)                    ->  pure Python, carrying csrc, which is
                                                         compiled on the first native use
SCNP_BUILD=none|cpu|cuda, FORCE_CUDA=1               ->  by name: exactly that, or an error
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent.resolve()
DESCRIPTION = runpy.run_path(str(HERE / "scnp_kernels" / "backends" / "native" / "build.py"))
CUDA_TOOLKIT = runpy.run_path(
    str(HERE / "scnp_kernels" / "backends" / "native" / "cuda_toolkit.py")
)


class BuildPython(build_py):
    """Puts csrc into the package, so that an installation can compile it later."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "scnp_kernels" / "csrc"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(HERE / "csrc", target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        target = Path(self.build_lib) / "scnp_kernels" / "csrc"
        csrc = (file.relative_to(HERE / "csrc") for file in (HERE / "csrc").rglob("*.*"))
        return outputs + [str(target / file) for file in csrc]


def say(message: str) -> None:
    line = "=" * 78
    print(f"\n{line}\nscnp_kernels: {message}\n{line}\n", file=sys.stderr, flush=True)


def reason_not_to_compile(choice: str) -> str | None:
    """None if the kernels are to be compiled now. Raises if that was asked for and cannot be."""
    if choice == "none":
        return "SCNP_BUILD=none"
    try:
        import torch  # noqa: F401
    except ImportError:
        reason = (
            "there is no torch in the build environment (install torch first, then use "
            "pip install --no-build-isolation)"
        )
    else:
        compiler = os.environ.get("CXX") or ("cl" if os.name == "nt" else "c++")
        if shutil.which(compiler) is not None:
            return None
        reason = f"there is no C++ compiler {compiler!r} (set CXX to another)"
    if choice != "auto":
        raise SystemExit(f"scnp_kernels: SCNP_BUILD={choice} cannot be done: {reason}")
    return reason


def toolkit_to_compile_with(choice: str) -> Path | None:
    """The CUDA toolkit if the CUDA kernels are to be compiled; says why if they are not.

    Never asks whether a GPU is there. Raises if they were asked for and cannot be compiled.
    """
    import torch

    if choice == "cpu":
        say("compiling the CPU kernels (SCNP_BUILD=cpu)")
        return None
    reason = CUDA_TOOLKIT["reason_against"](torch.version.cuda)
    if reason is not None:
        if choice == "cuda":
            raise SystemExit(f"scnp_kernels: SCNP_BUILD=cuda cannot be done: {reason}")
        say(
            f"compiling the CPU kernels (SCNP_BUILD=none leaves them out)\n"
            f"without the CUDA kernels: {reason}"
        )
        return None
    toolkit: Path = CUDA_TOOLKIT["find_toolkit"]()
    variables = CUDA_TOOLKIT["environment"](toolkit, torch.cuda.is_available())
    os.environ.update(variables)  # read by torch.utils.cpp_extension when it is imported
    architectures = os.environ.get("TORCH_CUDA_ARCH_LIST", "those of the visible GPUs")
    say(
        "compiling the CPU kernels and the CUDA kernels (SCNP_BUILD=cpu leaves the latter out)\n"
        f"with {toolkit} for compute capabilities {architectures} (TORCH_CUDA_ARCH_LIST)"
    )
    return toolkit


def native_extension(choice: str) -> dict[str, Any]:
    """setup()'s arguments for compiling `_C` with torch's own build command."""
    toolkit = toolkit_to_compile_with(choice)
    from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

    class BuildNative(BuildExtension):
        """Unless asked for by name, a failed compilation leaves a pure-Python installation."""

        def run(self) -> None:
            try:
                super().run()
            except Exception as error:
                if choice != "auto":
                    raise
                self.extensions = []
                say(
                    f"COMPILING FAILED, going on without compiled kernels.\n{error}\n"
                    "They will be compiled on first use, or the slow reference runs instead. "
                    "SCNP_BUILD=cpu (or cuda) makes this an error."
                )

    csrc = HERE / "csrc"
    cuda_version = None if toolkit is None else CUDA_TOOLKIT["nvcc_version"](toolkit)
    make_extension = CppExtension if toolkit is None else CUDAExtension
    extension = make_extension(
        "scnp_kernels._C",
        [os.path.relpath(source, HERE) for source in DESCRIPTION["sources"](csrc, bool(toolkit))],
        depends=[os.path.relpath(header, HERE) for header in csrc.rglob("*.h")],
        extra_compile_args={
            "cxx": DESCRIPTION["compile_flags"](csrc, cuda_version),
            "nvcc": DESCRIPTION["nvcc_flags"](),
        },
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": BuildNative}}


def build_arguments() -> dict[str, Any]:
    try:
        choice = DESCRIPTION["build_choice"]()
    except ValueError as error:
        raise SystemExit(f"scnp_kernels: {error}") from None
    reason = reason_not_to_compile(choice)
    if reason is None:
        arguments = native_extension(choice)
    else:
        later = "" if choice == "none" else " They will be compiled on first use."
        say(f"PURE-PYTHON BUILD, no compiled kernels: {reason}.{later}")
        arguments = {"cmdclass": {}}
    arguments["cmdclass"]["build_py"] = BuildPython
    return arguments


setup(**build_arguments())
