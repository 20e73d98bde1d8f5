"""What gets compiled and how: the choice, the flags, and ninja, which knows what is out of date.

setup.py reads this file before there is a package or a torch, so it imports neither.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHOICES = ("auto", "none", "cpu", "cuda")
ON_MACOS = sys.platform == "darwin"
OPENMP = [] if ON_MACOS else ["-fopenmp"]  # macOS's own compiler lacks it: one thread runs there


def build_choice() -> str:
    """What ``SCNP_BUILD`` asks for; ``FORCE_CUDA=1`` is another way to ask for ``cuda``."""
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
    """Flags for the C++ compiler, for every machine of its architecture; ``CXXFLAGS`` last."""
    # Without fused multiply-adds, every instruction set computes the same bits. Nobody here asks
    # for floating-point exceptions, and promising that lets loops that choose values vectorise.
    rounding = ["-ffp-contract=off", "-fno-trapping-math"]
    flags = ["-std=c++20", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", *rounding, *OPENMP]
    return [*flags, *shlex.split(os.environ.get("CXXFLAGS", ""))]


def nvcc_flags(architectures: Sequence[str]) -> list[str]:
    """Flags for nvcc. ``architectures``: compute capabilities; ``+PTX`` serves later GPUs too."""
    host = next(word for word in compiler() if not word.endswith("ccache"))
    flags = ["-std=c++17", "-O3", "-ccbin", host, "-Xcompiler=-fPIC,-fvisibility=hidden"]
    for architecture in architectures:
        number = architecture.removesuffix("+PTX").replace(".", "")
        kinds = ("sm", "compute") if architecture.endswith("+PTX") else ("sm",)
        flags += [f"-gencode=arch=compute_{number},code={kind}_{number}" for kind in kinds]
    return flags


def sources(csrc: Path, with_cuda: bool) -> list[Path]:
    """The translation units of the module ``_C``."""
    units = sorted((*csrc.rglob("*.cpp"), *csrc.rglob("*.cu")))
    return [unit for unit in units if with_cuda or "cuda" not in str(unit.relative_to(csrc))]


def ninja_file(csrc: Path, module: str, includes: Sequence[str], toolkit: Any = None) -> str:
    """What ninja makes: ``module``, of objects that know which files they depend on.

    The kernels' objects serve every Python. Those of ``csrc/python``, which read the headers of
    Python and pybind11 in ``includes``, lie in a folder with the module's name. ``toolkit``: what
    the CUDA kernels are compiled with (cuda_toolkit.py); None leaves them out.
    """
    kernels = [*compiler(), *compile_flags()]
    binding = [*kernels, *(word for folder in includes for word in ("-isystem", folder))]
    bundle = ["-bundle", "-undefined", "dynamic_lookup"] if ON_MACOS else ["-shared"]
    link = [*compiler(), *bundle, *OPENMP, *shlex.split(os.environ.get("LDFLAGS", ""))]
    libraries: list[str] = []
    rules = {"kernels": kernels, "binding": binding}
    if toolkit is not None:
        rules["cuda"] = [str(toolkit.nvcc), *nvcc_flags(toolkit.architectures)]
        binding += ["-isystem", str(toolkit.include), f"-DSCNP_WITH_CUDA={toolkit.version}"]
        # Inside the module, and hidden: torch has a runtime of its own, maybe of another version.
        libraries = [str(toolkit.static_runtime), "-ldl", "-lrt", "-lpthread"]
        link.append("-Wl,--exclude-libs,ALL")
    lines = [f"rule link\n  command = {_text(link)} -o $out $in {_text(libraries)}"]
    for rule, command in rules.items():
        lines.append(f"rule {rule}\n  deps = gcc\n  depfile = $out.d")
        lines.append(f"  command = {_text(command)} -MMD -MF $out.d -c $in -o $out")
    objects = []
    for source in sources(csrc, toolkit is not None):
        name = source.relative_to(csrc).as_posix()
        rule = "cuda" if source.suffix == ".cu" else "kernels"
        if name.startswith("python/"):
            rule, name = "binding", f"{Path(module).stem}/{name}"
        objects.append(f"{name}.o")
        path = str(source).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
        lines.append(f"build {objects[-1]}: {rule} {path}")
    return "\n".join((*lines, f"build {module}: link {' '.join(objects)}", ""))


def _text(command: Sequence[str]) -> str:
    return shlex.join(command).replace("$", "$$")


def compile_module(csrc: Path, folder: Path, module: str, toolkit: Any = None) -> None:
    """Make ``module`` in ``folder``, where the objects stay, for the Python that runs."""
    import fcntl

    import pybind11

    includes = [sysconfig.get_path("include"), pybind11.get_include()]
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    jobs = [f"-j{os.environ['MAX_JOBS']}"] if os.environ.get("MAX_JOBS") else []
    command = [shutil.which("ninja", path=path) or "ninja", "-C", str(folder), *jobs]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
        (folder / "build.ninja").write_text(ninja_file(csrc, module, includes, toolkit))
        parent = os.getppid()
        with subprocess.Popen(command, preexec_fn=_end_with_parent) as ninja:
            while ninja.poll() is None:
                time.sleep(0.05)
                if os.getppid() != parent:  # pip's end, say, is the end of this too
                    ninja.terminate()
    if ninja.returncode != 0:
        raise subprocess.CalledProcessError(ninja.returncode, command)


def _end_with_parent() -> None:
    """Have the system end this process when its parent has ended, by whatever it was ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
