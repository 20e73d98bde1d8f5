"""Compiles the module ``_C`` with sanitizers, away from the checkout's own.

The result is a copy of the package with that module in it; first on ``sys.path``, it is the one
that is imported.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from torch.utils import cpp_extension

from scnp_kernels.backends.native.build import compile_flags, sources

CHECKOUT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
SANITIZERS = "address,undefined,float-divide-by-zero,float-cast-overflow"
# Frames and lines for the reports. The loops are the same at any level of optimisation; at this
# one they compile in a minute. vptr would need the type information that torch hides.
FLAGS = (
    "-O1",
    "-g1",
    "-fno-omit-frame-pointer",
    f"-fsanitize={SANITIZERS}",
    "-fno-sanitize=vptr",
    "-fno-sanitize-recover=all",
)
RUNTIMES = ("libasan.so", "libstdc++.so")


def compiler() -> str:
    return os.environ.get("CXX") or "c++"


def runtimes() -> str:
    """What must be loaded before Python, which is not built with sanitizers itself."""
    found = []
    for name in RUNTIMES:
        result = subprocess.run(
            [compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        file = Path(result.stdout.strip())
        if not file.is_absolute():
            raise SystemExit(f"{compiler()} has no {name}: install its sanitizers, or set CXX")
        found.append(str(file))
    return " ".join(found)


def _ninja_file() -> str:
    includes = [*cpp_extension.include_paths(), sysconfig.get_path("include")]
    own_flags = [
        flag for flag in compile_flags(CHECKOUT / "csrc", None) if not flag.startswith(("-O", "-g"))
    ]
    flags = [
        *("-std=c++20", "-fPIC", "-DTORCH_EXTENSION_NAME=_C", "-DTORCH_API_INCLUDE_EXTENSION_H"),
        *own_flags,
        *FLAGS,
        *(word for path in includes for word in ("-isystem", path)),
    ]
    libraries = [
        *(f"-L{path}" for path in cpp_extension.library_paths()),
        *("-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"),
    ]
    lines = [
        "rule compile",
        f"  command = {shlex.quote(compiler())} -MMD -MF $out.d {shlex.join(flags)} -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "rule link",
        f"  command = {shlex.quote(compiler())} -shared {shlex.join(FLAGS)} $in $libraries -o $out",
    ]
    objects = []
    for source in sources(CHECKOUT / "csrc", with_cuda=False):
        objects.append(f"objects/{source.parent.name}-{source.stem}.o")
        lines.append(f"build {objects[-1]}: compile {source}")
    lines.append(f"build objects/canary.o: compile {HERE / 'canary.cpp'}")
    lines.append(f"build {module_name()}: link {' '.join(objects)}")
    lines.append(f"  libraries = {shlex.join(libraries)}")
    lines.append("build canary.so: link objects/canary.o")
    return "\n".join(lines) + "\n"


def module_name() -> str:
    return f"_C{EXTENSION_SUFFIXES[0]}"


def build(folder: Path) -> Path:
    """Compile what changed. Returns the folder to be put first on ``sys.path``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.ninja").write_text(_ninja_file())
    path = os.pathsep.join([os.environ.get("PATH", ""), sysconfig.get_path("scripts")])
    ninja = shutil.which("ninja", path=path)
    if ninja is None:
        raise SystemExit("ninja is missing: pip install ninja")
    if subprocess.run([ninja, "-C", str(folder)], check=False).returncode != 0:
        raise SystemExit("the kernels do not compile with sanitizers: see above")
    packages = folder / "package"
    package = packages / "scnp_kernels"
    shutil.rmtree(package, ignore_errors=True)
    ignored = shutil.ignore_patterns("_C*", "__pycache__")
    shutil.copytree(CHECKOUT / "scnp_kernels", package, ignore=ignored)
    shutil.copy2(folder / module_name(), package)
    return packages


if __name__ == "__main__":
    build(Path(sys.argv[1]))
