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
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from scnp_kernels.backends.native.build import compile_module, compiler

CHECKOUT = Path(__file__).parents[3]
HERE = Path(__file__).parent
SANITIZERS = "address,undefined,float-divide-by-zero,float-cast-overflow"
# Frames and lines for the reports. The loops are the same at any level of optimisation; at this
# one they compile in a minute.
FLAGS = (
    "-O1",
    "-g1",
    "-fno-omit-frame-pointer",
    f"-fsanitize={SANITIZERS}",
    "-fno-sanitize=vptr",
    "-fno-sanitize-recover=all",
)
RUNTIMES = ("libasan.so", "libstdc++.so")


def runtimes() -> str:
    """What must be loaded before Python, which is not built with sanitizers itself."""
    found = []
    for name in RUNTIMES:
        result = subprocess.run(
            [*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        file = Path(result.stdout.strip())
        if not file.is_absolute():
            raise SystemExit(f"{compiler()[0]} has no {name}: install its sanitizers, or set CXX")
        found.append(str(file))
    return " ".join(found)


def module_name() -> str:
    return f"_C{EXTENSION_SUFFIXES[0]}"


def build(folder: Path) -> Path:
    """Compile what changed. Returns the folder to be put first on ``sys.path``."""
    os.environ["CXXFLAGS"] = os.environ["LDFLAGS"] = shlex.join(FLAGS)
    try:
        compile_module(CHECKOUT / "csrc", folder, module_name())
        canary = [*compiler(), *FLAGS, "-shared", "-fPIC", str(HERE / "canary.cpp")]
        subprocess.run([*canary, "-o", str(folder / "canary.so")], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"the kernels do not compile with sanitizers: {error}") from None
    finally:
        del os.environ["CXXFLAGS"], os.environ["LDFLAGS"]
    packages = folder / "package"
    package = packages / "scnp_kernels"
    shutil.rmtree(package, ignore_errors=True)
    ignored = shutil.ignore_patterns("_C*", "__pycache__")
    shutil.copytree(CHECKOUT / "scnp_kernels", package, ignore=ignored)
    shutil.copy2(folder / module_name(), package)
    return packages


if __name__ == "__main__":
    build(Path(sys.argv[1]))
