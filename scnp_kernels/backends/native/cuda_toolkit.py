"""The CUDA toolkit: where it is, and for which GPUs to compile.

Never asks whether a GPU is there: kernels are often built where there is none. setup.py reads this
file before there is a package, so it imports nothing of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Toolkit(NamedTuple):
    """What the CUDA kernels are compiled with."""

    nvcc: Path
    version: str  # of the toolkit: "13.0"
    include: Path
    static_runtime: Path
    architectures: list[str]  # compute capabilities; "8.0+PTX" serves later GPUs too


ARCHITECTURES = ("7.5", "8.0", "8.6", "9.0", "10.0", "12.0")


def toolkit() -> Toolkit:
    """The toolkit to compile with; raises ValueError where there is none, or it lacks something."""
    folder = find_toolkit()
    if folder is None:
        raise ValueError("no CUDA toolkit was found (install one, or set CUDA_HOME to where it is)")
    nvcc = folder / "bin" / "nvcc"
    release = re.search(r"release (\d+\.\d+)", _ask(nvcc, "--version"))
    if release is None:
        raise ValueError(f"{nvcc} does not tell its version")
    # In lib64 of an installer's toolkit, in lib of a package's.
    folders = ("lib64", "lib", "targets/*/lib")
    found = [file for place in folders for file in folder.glob(f"{place}/libcudart_static.a")]
    if not found:
        raise ValueError(f"{folder} has no libcudart_static.a")
    return Toolkit(nvcc, release.group(1), folder / "include", found[0], architectures(nvcc))


def find_toolkit() -> Path | None:
    """The folder with ``bin/nvcc``: ``CUDA_HOME``, ``CUDA_PATH``, or where ``nvcc`` on PATH lies.

    A folder that was named by a variable is the only candidate: another is never taken instead.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [Path(named)] if named else [Path("/usr/local/cuda")]
    on_path = shutil.which("nvcc")
    if on_path and not named:
        # It may be a link, or a script that calls the real one from elsewhere.
        beside = (Path(on_path), Path(on_path).resolve())
        candidates = [*(nvcc.parent.parent for nvcc in beside), *candidates]
    for candidate in candidates:
        header = candidate / "include" / "cuda_runtime_api.h"
        if (candidate / "bin" / "nvcc").exists() and header.exists():
            return candidate
    return None


def architectures(nvcc: Path) -> list[str]:
    """Those of ``TORCH_CUDA_ARCH_LIST``, else ``ARCHITECTURES`` as far as this nvcc knows them."""
    asked_for = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
    for name in asked_for:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name):
            raise ValueError(f"TORCH_CUDA_ARCH_LIST: got {name!r}, takes the likes of 8.0;9.0+PTX")
    known = set(re.findall(r"compute_(\d+)", _ask(nvcc, "--list-gpu-arch")))
    chosen = [name for name in ARCHITECTURES if name.replace(".", "") in known]
    return asked_for or [*chosen[:-1], *(f"{newest}+PTX" for newest in chosen[-1:])]


def _ask(nvcc: Path, option: str) -> str:
    try:
        result = subprocess.run([nvcc, option], capture_output=True, check=False)
    except OSError:
        return ""
    return result.stdout.decode(errors="replace")
