"""What nvcc makes of the kernels: that they compile, and what a thread and a block of them take.

Prints a table for every architecture. A kernel that spills registers or keeps a stack fails.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gpu.cuda_check.host_worker import CSRC

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
UNITS = sorted((CSRC / "cuda").glob("*.cu"))
MOST_REGISTERS = 128  # two blocks of 256 threads to a multiprocessor
_ENTRY = re.compile(r"Compiling entry function '(\S+)'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


class Resources(NamedTuple):
    """Of one kernel; bytes but for the registers. Tiles' shared memory is asked for at launch."""

    kernel: str
    registers: int
    static_shared: int
    stack: int
    spill_stores: int
    spill_loads: int


def parse_resources(report: str) -> list[Resources]:
    """What ``ptxas -v`` says of every kernel.

    >>> parse_resources("Compiling entry function 'k' for 'sm_80'\\n"
    ...     "8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads\\n"
    ...     "Used 40 registers, used 1 barriers, 16 bytes smem")
    [Resources(kernel='k', registers=40, static_shared=16, stack=8, spill_stores=4, spill_loads=4)]
    """
    found = []
    for part in re.split(r"(?=Compiling entry function)", report)[1:]:
        entry, frame, used = _ENTRY.search(part), _FRAME.search(part), _USED.search(part)
        assert entry is not None, part
        assert frame is not None, part
        assert used is not None, part
        shared = _SHARED.search(part)
        stack, stores, loads = map(int, frame.groups())
        shared_bytes = int(shared.group(1)) if shared else 0
        found.append(
            Resources(entry.group(1), int(used.group(1)), shared_bytes, stack, stores, loads)
        )
    return found


def _readable(names: list[str]) -> list[str]:
    """forward_tiles<Float16Format, unsigned char> for a mangled name."""
    result = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    plain = result.stdout.replace("scnp::cuda::", "").replace("(anonymous namespace)::", "")
    return [re.sub(r"^void |\(.*", "", line) for line in plain.splitlines()]


def _compile(unit: Path, architecture: str, folder: Path) -> str:
    result = subprocess.run(
        ["nvcc", "-std=c++17", "-O3", f"-arch={architecture}", "-Xptxas", "-v", "-Werror",
         "all-warnings", "-cubin", "-o", str(folder / f"{unit.stem}.cubin"), str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_fit_their_registers(
    architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = [
        kernel
        for unit in UNITS
        for kernel in parse_resources(_compile(unit, architecture, tmp_path))
    ]
    # Tiles and windows of forward and scatter: 4 types, 3 types of winners. Gather: 3 widths.
    assert len(kernels) == 2 * (12 + 12) + 9 + 1
    with capsys.disabled():
        print(f"\n\n{architecture:<58} registers  shared  stack  spilled (stored, loaded)")
        for kernel, name in zip(kernels, _readable([k.kernel for k in kernels]), strict=True):
            print(
                f"{name:<58} {kernel.registers:>9} {kernel.static_shared:>7} {kernel.stack:>6} "
                f"{kernel.spill_stores:>8}, {kernel.spill_loads}"
            )
    for kernel in kernels:
        assert kernel.stack == kernel.spill_stores == kernel.spill_loads == 0, kernel
        assert kernel.registers <= MOST_REGISTERS, kernel


def test_the_kernels_include_no_torch(tmp_path: Path) -> None:
    """Or they would neither compile in a second nor run on the host."""
    for unit in UNITS:
        result = subprocess.run(
            ["nvcc", "-std=c++17", "-M", "-o", str(tmp_path / "dependencies"), str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        names = (tmp_path / "dependencies").read_text()
        assert "contract/geometry.h" in names
        assert not re.search(r"/(ATen|c10|torch)/", names)
