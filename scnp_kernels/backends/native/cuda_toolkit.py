"""The CUDA toolkit: where it is, whether it fits the running torch, and for which GPUs to compile.

Never asks whether a GPU is there before deciding to compile: kernels are often built where there
is none. setup.py reads this file before there is a package, so it imports nothing of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

ARCHITECTURES = ("7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
_NVCC = "nvcc.exe" if os.name == "nt" else "nvcc"


def reason_against(torch_cuda: str | None) -> str | None:
    """None if the CUDA kernels can be compiled for this torch, else why not.

    Args:
        torch_cuda: ``torch.version.cuda``: the CUDA that torch was built for, None if without.
    """
    if torch_cuda is None:
        return "this torch is built without CUDA (install a CUDA build of torch)"
    toolkit = find_toolkit()
    if toolkit is None:
        return (
            "no CUDA toolkit was found (install one for CUDA "
            f"{torch_cuda}, or set CUDA_HOME to where it is)"
        )
    version = nvcc_version(toolkit)
    if version is None:
        return f"{toolkit / 'bin' / _NVCC} does not tell its version"
    if version.split(".")[0] != torch_cuda.split(".")[0]:
        return (
            f"nvcc is of CUDA {version} ({toolkit}), but this torch was built for CUDA "
            f"{torch_cuda}; their first numbers must agree: set CUDA_HOME to a toolkit of CUDA "
            f"{torch_cuda.split('.')[0]}, or install a torch for CUDA {version.split('.')[0]}"
        )
    return None


def find_toolkit() -> Path | None:
    """The folder with ``bin/nvcc``: ``CUDA_HOME``, ``CUDA_PATH``, or where ``nvcc`` on PATH lies.

    A folder that was named by a variable is the only candidate: another is never taken instead.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if named:
        candidates = [Path(named)]
    else:
        on_path = shutil.which("nvcc")
        # What is on PATH may be a link, or a script that calls the real one from elsewhere.
        beside = [Path(on_path), Path(on_path).resolve()] if on_path else []
        candidates = [*(nvcc.parent.parent for nvcc in beside), Path("/usr/local/cuda")]
    for candidate in candidates:
        header = candidate / "include" / "cuda_runtime_api.h"
        if (candidate / "bin" / _NVCC).exists() and header.exists():
            return candidate
    return None


@cache
def nvcc_version(toolkit: Path) -> str | None:
    """``"13.0"``; None if nvcc does not run."""
    release = re.search(r"release (\d+\.\d+)", _ask_nvcc(toolkit, "--version"))
    return release.group(1) if release else None


def environment(toolkit: Path, gpus_visible: bool) -> dict[str, str]:
    """The variables with which torch's build commands find this toolkit and know what to build.

    ``TORCH_CUDA_ARCH_LIST`` counts when it is set; else torch compiles for the visible GPUs;
    where there are none, for ``ARCHITECTURES``, as far as this nvcc knows them.
    """
    variables = {"CUDA_HOME": str(toolkit)}
    if not os.environ.get("TORCH_CUDA_ARCH_LIST") and not gpus_visible:
        variables["TORCH_CUDA_ARCH_LIST"] = default_architectures(toolkit)
    return variables


@cache
def default_architectures(toolkit: Path) -> str:
    """``"7.5;8.0;...;12.0+PTX"``: one binary for each, and code that later GPUs can translate."""
    known = set(re.findall(r"compute_(\d+)", _ask_nvcc(toolkit, "--list-gpu-arch")))
    chosen = [name for name in ARCHITECTURES if name.replace(".", "") in known]
    return ";".join(chosen) + "+PTX"


def _ask_nvcc(toolkit: Path, option: str) -> str:
    try:
        result = subprocess.run(
            [toolkit / "bin" / _NVCC, option], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return result.stdout
