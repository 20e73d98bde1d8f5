"""The binding's API and types, without a CUDA build of torch: it compiles against the CPU wheel."""

from __future__ import annotations

import subprocess
from pathlib import Path

from torch.utils.cpp_extension import include_paths

from scnp_kernels.backends.native import cuda_toolkit
from tests.cuda_check.host_worker import CSRC, HERE


def test_the_binding_compiles(tmp_path: Path) -> None:
    toolkit = cuda_toolkit.find_toolkit()
    assert toolkit is not None, "no CUDA toolkit was found: nvcc on PATH, or CUDA_HOME"
    includes = [*include_paths(), str(toolkit / "include"), str(HERE / "stub_headers")]
    result = subprocess.run(
        ["g++", "-std=c++20", "-O0", "-Wall", "-Wextra", "-Werror",
         *(f"-isystem{folder}" for folder in includes),
         "-c", str(CSRC / "torch" / "cuda_ops.cpp"), "-o", str(tmp_path / "binding.o")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
