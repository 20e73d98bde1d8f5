"""Compile the kernels of the ``cuda`` backend into the checkout, once, before they are asked for.

    python -m tests.gpu.day.build

Does nothing where they are there already: a module that was compiled elsewhere, for this Python and
with nvcc for this GPU, may be carried along. The build needs nvcc, a C++ compiler, ninja,
setuptools and pybind11; where the last is missing, torch's own copy stands in for it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COMMAND = (sys.executable, "setup.py", "build_ext", "--inplace")
ASK = "from scnp_kernels.backends.native import loader; print(loader.load_cuda() or 'there')"
STAND_IN = '''"""torch's copy of pybind11's headers."""


def get_include(user: bool = False) -> str:
    return {folder!r}
'''


def compute_capability() -> str:
    """Return that of the GPU as nvidia-smi says it, or else that of an H100 and H200."""
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is not None:
        query = [nvidia_smi, "--query-gpu=compute_cap", "--format=csv,noheader"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, check=False, timeout=10)
        except subprocess.TimeoutExpired:
            return "9.0"
        first = said.stdout.strip().splitlines()[:1]
        if said.returncode == 0 and first:
            return first[0].strip()
    return "9.0"


def is_there() -> bool:
    """Asked of another process: this one must not hold a module that is about to be replaced."""
    result = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env={**os.environ, "SCNP_BUILD": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"CUDA kernels: {result.stdout.strip()}{result.stderr.strip()[-500:]}", flush=True)
    return result.returncode == 0 and result.stdout.strip() == "there"


def stand_in_for_pybind11(folder: Path) -> None:
    """Make a package that knows where torch keeps its copy of the headers."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    package = folder / "pybind11"
    package.mkdir()
    text = STAND_IN.format(folder=str(Path(torch.origin).parent / "include"))
    (package / "__init__.py").write_text(text, encoding="utf-8")


def main() -> int:
    """Return the build's status."""
    if is_there():
        return 0
    capability = compute_capability()
    variables = {**os.environ, "SCNP_BUILD": "cuda", "TORCH_CUDA_ARCH_LIST": capability}
    print(f"compiling for {capability}: {' '.join(COMMAND)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="scnp-pybind11-") as folder:
        if importlib.util.find_spec("pybind11") is None:
            stand_in_for_pybind11(Path(folder))
            paths = [folder, os.environ.get("PYTHONPATH", "")]
            variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        status = subprocess.run(COMMAND, cwd=ROOT, env=variables, check=False).returncode
    return status or int(not is_there())


if __name__ == "__main__":
    sys.exit(main())
