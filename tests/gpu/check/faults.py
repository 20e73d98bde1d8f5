"""Rung 5: faults planted in a copy of the kernels, each of which the interpreter's rung must catch.

    python -m tests.gpu.check.faults

A check that nothing can fail proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
COPIED = ("scnp_kernels", "tests")
KERNELS = "scnp_kernels/backends/triton/kernels"
# A few cases that take seconds. Without a fault they pass (that is checked first).
CASES = "test_case and float32 and (window_3_2d or window_3_3d or tied_2d or tied_3d)"
WITHOUT = (".git", "__pycache__", "*.so")


class Fault(NamedTuple):
    """One replacement in one file of scnp_kernels/backends/triton/kernels."""

    name: str
    file: str
    right: str
    wrong: str


FAULTS = [
    Fault(
        "a halo one row too narrow",
        "forward_march.py",
        "start = tl.maximum(tile.first - HALF_OUTER, 0)",
        "start = tl.maximum(tile.first - HALF_OUTER + 1, 0)",
    ),
    Fault(
        "a halo one row too narrow, in scatter",
        "scatter_march.py",
        "start = tl.maximum(tile.first - HALF_OUTER, 0)",
        "start = tl.maximum(tile.first - HALF_OUTER + 1, 0)",
    ),
    Fault(
        ">= for > in the winner", "device/keys.py", "better = key > best", "better = key >= best"
    ),
    Fault(
        "a wrong clip at the image's last column",
        "device/tiles.py",
        "(neighbour < inner)",
        "(neighbour < inner - 1)",
    ),
    Fault(
        "a skipped tap in scatter",
        "scatter_march.py",
        "for sender in tl.static_range(WINDOW_INNER):",
        "for sender in tl.static_range(1, WINDOW_INNER):",
    ),
]


def is_caught(fault: Fault | None) -> bool:
    """Plant the fault in a copy, run the cases there, and return whether one fails."""
    with tempfile.TemporaryDirectory(prefix="scnp-fault-") as folder:
        for name in COPIED:
            ignored = shutil.ignore_patterns(*WITHOUT)
            shutil.copytree(ROOT / name, Path(folder) / name, ignore=ignored)
        if fault is not None:
            file = Path(folder) / KERNELS / fault.file
            source = file.read_text(encoding="utf-8")
            assert source.count(fault.right) == 1, f"{fault.name}: what it replaces has changed"
            file.write_text(source.replace(fault.right, fault.wrong), encoding="utf-8")
        options = ["-o", "addopts=--import-mode=importlib -q", "-p", "no:cacheprovider", "-x"]
        selected = ["--rootdir", folder, "-k", CASES, "tests/gpu/check/interpreter.py"]
        result = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *selected],
            cwd=folder,
            env=dict(os.environ, TRITON_INTERPRET="1", SCNP_BUILD="none", SCNP_SHARD="0/1",
                     PYTHONPATH=folder),
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    # 0: all passed; 1: a test failed. Anything else means that the tests did not run.
    if result.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run:\n{result.stdout}\n{result.stderr}")
    return result.returncode == 1


def main() -> int:
    """Plant all faults; return how many of them no case noticed."""
    if is_caught(None):
        print("FAILED the kernels as they are fail these cases")
        return 1
    print("  without a fault the cases pass", flush=True)
    missed = 0
    for fault in FAULTS:
        caught = is_caught(fault)
        missed += not caught
        print(f"  {'caught' if caught else 'MISSED'}: {fault.name}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
