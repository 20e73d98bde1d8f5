"""Compiles every C++ header alone, as an editor reads it: each includes what it uses.

``python -m tests.packaging.headers`` checks those of the checkout, all or the named ones. A file
that ends in ``-inl.h`` is compiled for the target that an editor sees and, once more, for each
other that has code of its own; every such file begins with the prologue that makes this possible.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pybind11

CHECKOUT = Path(__file__).parents[2]
CSRC = CHECKOUT / "csrc"
FLAGS = ("-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror")
REGISTERS = "prologue_registers.h"
PROLOGUES = ("prologue.h", REGISTERS)
TARGETS = ("avx2", "avx512")  # those with code of their own


class Check(NamedTuple):
    """One compilation of one header."""

    header: Path
    flags: tuple[str, ...]

    def failure(self) -> str | None:
        """Compile it. Returns what is wrong, or None."""
        compiler = shlex.split(os.environ.get("CXX", "c++"))
        # Included, because a compiler warns of `#pragma once` in the file that it is given.
        command = [*compiler, *FLAGS, *self.flags, "-x", "c++", "-include", str(self.header)]
        result = subprocess.run([*command, os.devnull], capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return None
        command = [*command, os.devnull]
        if result.returncode < 0:
            return f"{self.header}: signal {-result.returncode} ended {shlex.join(command)}"
        return (
            f"{self.header} does not compile alone: include what it uses\n"
            f"$ {shlex.join(command)}\n{result.stderr}"
        )


def is_compiled_per_target(header: Path) -> bool:
    """Is it one of those that are compiled once for each instruction set?"""
    return header.name.endswith("-inl.h")


def wrong_beginning(header: Path) -> str | None:
    """What is wrong if the first include is not the prologue, or None."""
    first = first_include(header)
    if Path(first).name in PROLOGUES:
        return None
    return f"{header} includes {first} first, takes targets/prologue.h (or {REGISTERS})"


def first_include(header: Path) -> str:
    """What a header includes before anything else, as it is written."""
    includes = [line for line in header.read_text().splitlines() if line.startswith("#include ")]
    return includes[0].removeprefix("#include ").strip('"<>') if includes else "nothing"


def checks_of(header: Path) -> Iterator[Check]:
    """The compilations that a header must pass on this machine."""
    if "cuda" in header.parts:
        # In place of CUDA's own headers, those that the host's checks are compiled with.
        yield Check(header, (f"-I{CHECKOUT / 'tests' / 'gpu' / 'cuda_check' / 'host_cuda'}",))
        return
    if not is_compiled_per_target(header):
        yield Check(header, tuple(f for path in outside_headers() for f in ("-isystem", path)))
        return
    if Path(first_include(header)).name != REGISTERS:
        yield Check(header, ())
    if platform.machine() in ("x86_64", "AMD64"):
        own = [target for target in TARGETS if header.name.endswith(f"_{target}-inl.h")]
        for target in own or TARGETS:
            yield Check(header, (f"-DSCNP_TARGET={target}",))


def outside_headers() -> list[str]:
    """Where the headers lie that the binding includes: Python's and pybind11's."""
    return [sysconfig.get_path("include"), pybind11.get_include()]


def failures(headers: Sequence[Path]) -> list[str]:
    """What is wrong with these headers, in their order; compiles side by side."""
    found = [wrong_beginning(header) for header in headers if is_compiled_per_target(header)]
    checks = [check for header in headers for check in checks_of(header)]
    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        found += compilers.map(Check.failure, checks)
    return [failure for failure in found if failure is not None]


def main() -> None:
    headers = [Path(name).resolve() for name in sys.argv[1:]] or sorted(CSRC.rglob("*.h"))
    found = failures(headers)
    if found:
        raise SystemExit("\n".join(found))
    print(f"{len(headers)} headers compile alone")


if __name__ == "__main__":
    main()
