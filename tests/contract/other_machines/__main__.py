"""Compiles the CPU kernels for 64-bit ARM, and checks them there under an emulator.

``python -m tests.contract.other_machines`` needs a cross compiler and qemu's user mode, on Debian
``apt-get install g++-aarch64-linux-gnu qemu-user``. It

- runs ``kernels_check.cpp``, the kernels against loops in raster order, on the emulated machine;
- prints how many instructions a logit takes there, beside those of this machine's AVX2.

An emulator tells nothing about speed: one instruction can cost as much as ten others, and vectors
of 16 bytes (ARM's NEON) need twice as many as those of 32 (AVX2).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scnp_kernels.backends.native.build import OPENMP, compile_flags, compiler, sources

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent.parent
CSRC = CHECKOUT / "csrc"
ARM_COMPILER = "aarch64-linux-gnu-g++"
ARM = "qemu-aarch64"
X86 = ("qemu-x86_64", "-cpu", "max")
OPERATIONS = {
    "forward": "scnp forward",
    "backward": "scnp backward",
    "loss": "fused loss forward",
    "loss_backward": "fused loss backward",
}
TIMES = (1, 3)  # an operation runs so often: what starting costs is in both


class FailedError(Exception):
    """The message says what failed."""


class Machine(NamedTuple):
    """A machine to run programs on, and what compiles and links for it."""

    name: str
    compiler: tuple[str, ...]
    emulator: tuple[str, ...]
    objects: tuple[Path, ...]  # the kernels'
    capability: str  # SCNP_CPU_CAPABILITY


def run(command: Sequence[str | Path], **variables: str) -> str:
    """Return what a command prints on both streams."""
    words = [str(word) for word in command]
    result = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )
    if result.returncode != 0:
        raise FailedError(f"$ {' '.join(words)}\n{result.stdout}exit status {result.returncode}")
    return result.stdout


def missing_tools() -> list[str]:
    """The programs that are needed and not on PATH."""
    return [tool for tool in (ARM_COMPILER, ARM, X86[0]) if shutil.which(tool) is None]


def kernel_sources() -> list[Path]:
    """The units of the CPU kernels, without those that know Python."""
    return [path for path in sources(CSRC, with_cuda=False) if CSRC / "python" not in path.parents]


def compile_kernels(folder: Path) -> tuple[Path, ...]:
    """Compile the kernels for ARM, two units at a time, into a new folder."""
    flags = [flag for flag in compile_flags() if flag not in OPENMP]

    def compile_unit(source: Path) -> Path:
        made = folder / f"{source.relative_to(CSRC).as_posix().replace('/', '-')}.o"
        run([ARM_COMPILER, *flags, "-c", source, "-o", made])
        return made

    folder.mkdir()
    with ThreadPoolExecutor(2) as compilers:
        return tuple(compilers.map(compile_unit, kernel_sources()))


def objects_of_the_build() -> tuple[Path, ...]:
    """The kernels' objects that building this checkout left."""
    build = CHECKOUT / "build" / "native"
    made = [build / f"{source.relative_to(CSRC).as_posix()}.o" for source in kernel_sources()]
    lost = [path for path in made if not path.is_file()]
    if lost:
        raise FailedError(f"{lost[0]} is not there: build the package here first (make test)")
    return tuple(made)


def link(machine: Machine, program: Path, folder: Path) -> Path:
    """Compile a program of this folder and link it with the machine's kernels."""
    made = folder / f"{program.stem}-{machine.name}"
    flags = ("-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-static")
    command: list[str | Path] = [*machine.compiler, *flags, program, *machine.objects]
    run([*command, "-o", made])
    return made


def instructions_per_logit(
    machine: Machine, program: Path, plugin: Path, operation: str, axes: int
) -> float:
    """How many instructions a logit takes, by an emulator's counter."""
    counts, logits = [], 1
    for times in TIMES:
        command: list[str | Path] = [*machine.emulator, "-plugin", plugin, "-d", "plugin", program]
        printed = run(
            [*command, operation, str(axes), str(times)],
            SCNP_CPU_CAPABILITY=machine.capability,
        )
        found = re.search(r"instructions (\d+)", printed)
        size = re.search(r"^(\d+)", printed, re.MULTILINE)
        if found is None or size is None:
            raise FailedError(f"{machine.name}: the counter printed {printed!r}")
        counts.append(int(found[1]))
        logits = int(size[1])
    return (counts[1] - counts[0]) / (TIMES[1] - TIMES[0]) / logits


def table(machines: Sequence[Machine], folder: Path) -> Iterable[str]:
    """Yield the lines of a Markdown table of instructions per logit."""
    plugin = folder / "count_instructions.so"
    run(["cc", "-shared", "-fPIC", "-O2", HERE / "count_instructions.c", "-o", plugin])
    programs = [link(machine, HERE / "one_operation.cpp", folder) for machine in machines]
    yield "| instructions per logit | " + " | ".join(machine.name for machine in machines) + " |"
    yield "|---|" + "---:|" * len(machines)
    for axes in (2, 3):
        for operation, words in OPERATIONS.items():
            counts = (
                instructions_per_logit(machine, program, plugin, operation, axes)
                for machine, program in zip(machines, programs, strict=True)
            )
            yield f"| {words}, {axes}D | " + " | ".join(f"{count:.1f}" for count in counts) + " |"


def main() -> None:
    """Check, count, and print both."""
    lacking = missing_tools()
    if lacking:
        raise FailedError(
            f"not on PATH: {', '.join(lacking)}. Debian: "
            "apt-get install g++-aarch64-linux-gnu qemu-user"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = compile_kernels(folder / "kernels")
        arm = Machine("aarch64", (ARM_COMPILER,), (ARM,), objects, "portable")
        check = link(arm, HERE / "kernels_check.cpp", folder)
        print(f"aarch64, emulated\n{run([*arm.emulator, check])}", flush=True)
        avx2 = Machine("AVX2", tuple(compiler()), X86, objects_of_the_build(), "avx2")
        print("float32, window 3, label map; counted by qemu, no measure of speed:\n")
        for line in table((arm, avx2), folder):
            print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except FailedError as error:
        sys.exit(f"tests.contract.other_machines: {error}")
