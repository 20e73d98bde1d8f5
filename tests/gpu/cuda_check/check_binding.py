"""The binding's API and types, in a second: `make cuda-build` links it."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pybind11

from scnp_kernels.backends.native import build, cuda_toolkit
from tests.gpu.cuda_check.host_worker import CSRC


def test_the_binding_compiles(tmp_path: Path) -> None:
    toolkit = cuda_toolkit.toolkit()
    includes = [sysconfig.get_path("include"), pybind11.get_include(), str(toolkit.include)]
    result = subprocess.run(
        [*build.compiler(), *build.compile_flags(), "-O0", "-Wall", "-Wextra", "-Werror",
         *(f"-isystem{folder}" for folder in includes),
         "-c", str(CSRC / "python" / "cuda_operators.cpp"), "-o", str(tmp_path / "binding.o")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
