"""How long the native code takes to compile: all of it, and what a change of one header costs.

``python -m benchmarks.build_time`` compiles every unit once, two at a time (``--jobs``), away from
the checkout's own build, and prints

- the seconds of processor time and of wall-clock time that all of them take, without linking;
- for each folder of ``csrc/cpu``, the ``-inl.h`` file whose change costs most: the processor time
  of the units that include it, which is what compiling them one after the other takes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scnp_kernels.backends.native.build import compile_flags, compiler, sources
from tests.packaging.headers import outside_headers

CSRC = Path(__file__).parent.parent / "csrc"


class Unit(NamedTuple):
    """One compiled source."""

    source: Path
    seconds: float  # of processor time
    headers: frozenset[Path]  # of csrc that it includes


def compile_unit(source: Path, folder: Path) -> Unit:
    """Compile one source as a build does.

    Raises:
        RuntimeError: The compiler failed; the message holds its words.
    """
    base = folder / source.relative_to(CSRC).with_suffix("").as_posix().replace("/", "-")
    includes = [word for path in outside_headers() for word in ("-isystem", path)]
    command = [
        *compiler(),
        *("-Wall", *includes, *compile_flags()),
        *("-MMD", "-MF", f"{base}.d", "-c", str(source), "-o", f"{base}.o"),
    ]
    with Path(f"{base}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{Path(f'{base}.log').read_text()}")
    names = Path(f"{base}.d").read_text().replace("\\\n", " ").split()[1:]
    included = {Path(name).resolve() for name in names}
    return Unit(
        source,
        usage.ru_utime + usage.ru_stime,
        frozenset(name for name in included if name.is_relative_to(CSRC)),
    )


def compile_all(units: Sequence[Path], jobs: int) -> list[Unit]:
    """Compile all sources, ``jobs`` at a time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(jobs) as compilers,
    ):
        return list(compilers.map(lambda unit: compile_unit(unit, Path(folder)), units))


def costs_of_headers(units: Sequence[Unit]) -> dict[Path, list[Unit]]:
    """For every -inl.h file, the units that include it."""
    users = defaultdict(list)
    for unit in units:
        for header in unit.headers:
            if header.name.endswith("-inl.h"):
                users[header].append(unit)
    return users


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="compilers at a time (default: 2)")
    parser.add_argument("--all", action="store_true", help="print every unit and every header")
    options = parser.parse_args()
    start = time.perf_counter()
    units = compile_all(sources(CSRC, with_cuda=False), options.jobs)
    wall = time.perf_counter() - start
    if options.all:
        for unit in sorted(units, key=lambda unit: -unit.seconds):
            print(f"{unit.seconds:6.1f} s  {unit.source.relative_to(CSRC)}")
    total = sum(unit.seconds for unit in units)
    print(f"{len(units)} units: {total:.0f} s of processor time, {wall:.0f} s on the clock")
    users = costs_of_headers(units)
    seconds = {header: sum(unit.seconds for unit in users[header]) for header in users}
    printed = set()
    for header in sorted(seconds, key=lambda header: -seconds[header]):
        if options.all or header.parent not in printed:
            printed.add(header.parent)
            print(
                f"{seconds[header]:6.1f} s  after a change of {header.relative_to(CSRC)}"
                f" ({len(users[header])} units)"
            )


if __name__ == "__main__":
    main()
