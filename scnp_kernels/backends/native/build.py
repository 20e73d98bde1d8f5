"""What gets compiled and how: the choice, the flags, and the file that tells ninja.

setup.py reads this file before there is a package or a torch, so it imports neither.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHOICES = ("auto", "none", "cpu", "cuda")


def build_choice() -> str:
    """What ``SCNP_BUILD`` asks for; ``FORCE_CUDA=1`` is another way to ask for ``cuda``.

    - ``auto``: compile what can be compiled; otherwise go without, and say so.
    - ``none``: compile nothing.
    - ``cpu``: the CPU kernels alone, or fail.
    - ``cuda``: the CPU and the CUDA kernels, or fail.

    Raises:
        ValueError: The variable holds something else, or the two contradict each other.
    """
    choice = os.environ.get("SCNP_BUILD", "auto") or "auto"
    if choice not in CHOICES:
        raise ValueError(f"SCNP_BUILD: got {choice!r}, takes {', '.join(CHOICES)}")
    if os.environ.get("FORCE_CUDA") == "1":
        if choice not in ("auto", "cuda"):
            raise ValueError(f"FORCE_CUDA: got '1' beside SCNP_BUILD={choice}; takes one of them")
        return "cuda"
    return choice


def reason_against_compiling() -> str | None:
    """None if the CPU kernels can be compiled here."""
    if os.name == "nt":
        return "they are not compiled on Windows"
    if shutil.which(compiler()[0]) is None:
        return f"there is no C++ compiler {compiler()[0]!r} (set CXX to another)"
    return None


def compiler() -> list[str]:
    """The command of the C++ compiler: ``CXX``, of one word or more (``ccache c++``)."""
    return shlex.split(os.environ.get("CXX", "")) or ["c++"]


def compile_flags() -> list[str]:
    """Flags for the C++ compiler; ``CXXFLAGS`` last.

    Nothing else here depends on the machine that compiles: the binary runs on every machine of its
    architecture.
    """
    # Without fused multiply-adds, every instruction set computes the same bits. Nobody here asks
    # for floating-point exceptions, and promising that lets loops that choose values vectorise.
    rounding = ["-ffp-contract=off", "-fno-trapping-math"]
    flags = ["-std=c++20", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", *rounding, *_openmp()]
    return [*flags, *shlex.split(os.environ.get("CXXFLAGS", ""))]


def link_flags() -> list[str]:
    """Flags that make a module for Python of objects; ``LDFLAGS`` last."""
    module = (
        ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    )
    return [*module, *_openmp(), *shlex.split(os.environ.get("LDFLAGS", ""))]


def _openmp() -> list[str]:
    """macOS's own compiler has none: there the kernels run on one thread."""
    return [] if sys.platform == "darwin" else ["-fopenmp"]


def nvcc_flags(architectures: Sequence[str]) -> list[str]:
    """Flags for nvcc. ``architectures``: compute capabilities; ``+PTX`` serves later GPUs too."""
    flags = ["-std=c++17", "-O3", "-ccbin", compiler()[-1], "-Xcompiler=-fPIC,-fvisibility=hidden"]
    for architecture in architectures:
        number = architecture.removesuffix("+PTX").replace(".", "")
        kinds = ("sm", "compute") if architecture.endswith("+PTX") else ("sm",)
        flags += [f"-gencode=arch=compute_{number},code={kind}_{number}" for kind in kinds]
    return flags


def ninja_file(csrc: Path, module: Path, includes: Sequence[str], toolkit: Any = None) -> str:
    """What ninja makes: ``module``, of objects that know which files they depend on.

    The kernels' objects serve every Python. Those of ``csrc/python``, which read the headers of
    Python and pybind11 in ``includes``, lie in a folder with the module's name. ``toolkit``: what
    the CUDA kernels are compiled with (cuda_toolkit.py); None leaves them out.
    """
    kernels = [*compiler(), *compile_flags()]
    binding = [*kernels, *(word for folder in includes for word in ("-isystem", folder))]
    rules = {"kernels": kernels, "binding": binding}
    link = [*compiler(), *link_flags()]
    libraries = []
    if toolkit is not None:
        rules["cuda"] = [str(toolkit.nvcc), *nvcc_flags(toolkit.architectures)]
        binding += ["-isystem", str(toolkit.include), f"-DSCNP_WITH_CUDA={toolkit.version}"]
        # Inside the module, and hidden: torch has a runtime of its own, maybe of another version.
        link += ["-Wl,--exclude-libs,ALL"]
        libraries = [str(toolkit.static_runtime), "-ldl", "-lrt", "-lpthread"]
    lines = []
    for name, command in rules.items():
        lines += [
            f"rule {name}",
            f"  command = {_escaped(shlex.join(command))} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
        ]
    lines += ["rule link", f"  command = {_escaped(shlex.join(link))} -o $out $in $libraries"]
    objects = []
    for source in sorted(file for file in csrc.rglob("*") if file.suffix in (".cpp", ".cu")):
        name = source.relative_to(csrc)
        if toolkit is None and "cuda" in name.as_posix():
            continue
        rule = {"python": "binding"}.get(
            name.parts[0], "cuda" if source.suffix == ".cu" else "kernels"
        )
        place = module.with_suffix("") if rule == "binding" else Path("kernels")
        objects.append(_path(place / f"{name}.o"))
        lines.append(f"build {objects[-1]}: {rule} {_path(source)}")
    lines.append(f"build {_path(module)}: link {' '.join(objects)}")
    lines.append(f"  libraries = {_escaped(shlex.join(libraries))}")
    return "\n".join(lines) + "\n"


def _path(path: Path) -> str:
    return _escaped(str(path)).replace(" ", "$ ").replace(":", "$:")


def _escaped(words: str) -> str:
    return words.replace("$", "$$")
