"""Compiles the kernels when a pure-Python installation first needs them, and caches the binary.

Every compilation happens in a directory of its own and is renamed into the cache when it is
whole, so that a killed compiler leaves nothing half-written and processes that start together
cannot disturb each other. What killed ones left is cleared away a day later. The cache is per user
and keyed by sources, torch, Python and compilers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from . import cuda_toolkit
from .build import build_choice, compile_flags, nvcc_flags, sources

_PACKAGE = Path(__file__).parents[2]
_MODULE = "_C"
_WORKPLACE = "compiling-"
# Far longer than any compilation rests between two files, even beside other work or suspended. No
# lock says whether one is alive, since the cache may lie on a file system that several hosts share.
_STALE_AFTER_SECONDS = 24 * 3600


class CannotCompileError(Exception):
    """The kernels cannot be compiled here; the message says why."""


def source_directory() -> Path:
    """Where csrc lies: inside an installed package, beside it in a checkout."""
    package = _PACKAGE
    for candidate in (package / "csrc", package.parent / "csrc"):
        if (candidate / "torch" / "module.cpp").exists():
            return candidate
    raise CannotCompileError("the package was installed without its C++ sources (csrc)")


def cached_binary() -> Path | None:
    """The binary that an earlier first use compiled for exactly this environment.

    Raises:
        CannotCompileError: Others than this user could have put it there, or it has not what
            ``SCNP_BUILD`` asks for.
    """
    _require_what_is_asked_for()
    file = _cache_directory() / f"{_MODULE}{EXTENSION_SUFFIXES[0]}"
    for place in (file.parent.parent, file.parent, file):
        try:
            _require_own(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CannotCompileError(f"the cache cannot be read ({error}); {_ELSEWHERE}") from error
    return file


_ELSEWHERE = "set TORCH_EXTENSIONS_DIR to a directory of your own"


def _require_own(place: Path) -> None:
    """What is loaded from the cache runs as this user, so nobody else may have written it."""
    facts = place.stat()
    if not hasattr(os, "geteuid"):
        return  # Windows: the cache lies in the user's profile
    if facts.st_uid != os.geteuid():
        raise CannotCompileError(
            f"the cache {place} belongs to another user (number {facts.st_uid}); {_ELSEWHERE}"
        )
    if stat.S_ISDIR(facts.st_mode) and facts.st_mode & 0o022:
        raise CannotCompileError(
            f"the cache {place} may be written by other users (mode {facts.st_mode & 0o777:o}); "
            f"{_ELSEWHERE}, or take the permission away: chmod go-w"
        )


def reason_against_cuda() -> str | None:
    """None if what is compiled on first use has CUDA kernels, else why not."""
    if build_choice() == "cpu":
        return "SCNP_BUILD=cpu leaves them out"
    return cuda_toolkit.reason_against(torch.version.cuda)


def _require_what_is_asked_for() -> None:
    reason = reason_against_cuda()
    if build_choice() == "cuda" and reason is not None:
        raise CannotCompileError(f"SCNP_BUILD=cuda cannot be done: {reason}")


def require_toolchain() -> None:
    """Raise CannotCompileError, naming everything that is missing."""
    _require_what_is_asked_for()
    missing = []
    if shutil.which(_compiler()) is None:
        missing.append(f"the C++ compiler {_compiler()!r} (set CXX to another)")
    if shutil.which("ninja", path=_path_with_scripts()) is None:
        missing.append("ninja (pip install ninja)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        missing.append(f"Python's headers ({header}; install python3-dev)")
    if missing:
        raise CannotCompileError(
            f"they cannot be compiled on first use: {', '.join(missing)} missing"
        )


def compile_binary(because: str) -> Path:
    """Compile the kernels into the cache, with a message before and after.

    Raises:
        CannotCompileError: Something is missing, the compiler failed (its words are in the
            message), or the cache cannot be written.
    """
    require_toolchain()
    directory = _cache_directory()
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear_away_stale_workplaces(directory.parent)
        workplace = Path(tempfile.mkdtemp(prefix=_WORKPLACE, dir=directory.parent))
    except OSError as error:
        raise _cache_error(directory.parent, error) from error
    try:
        what = f"the CPU kernels with {_compiler()} on first use, a minute or two"
        if _toolkit() is not None:
            what = f"the CPU and CUDA kernels with {_compiler()} and nvcc on first use, minutes"
        _say(f"compiling {what} ({because}); cached in {directory}")
        started = time.monotonic()
        built = _build(workplace)
        _say(f"compiled in {time.monotonic() - started:.0f} s")
        return _publish(built, directory)
    except OSError as error:  # a full disk, or a directory that stopped being writable
        raise _cache_error(directory, error) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _cache_error(directory: Path, error: OSError) -> CannotCompileError:
    return CannotCompileError(
        f"the cache {directory} cannot be written ({error}); set TORCH_EXTENSIONS_DIR to a "
        "directory that can"
    )


def _clear_away_stale_workplaces(cache: Path) -> None:
    """What compilations left that were killed: nothing of theirs has changed for a day."""
    oldest = time.time() - _STALE_AFTER_SECONDS
    for workplace in cache.glob(f"{_WORKPLACE}*"):
        try:
            changed = max(path.stat().st_mtime for path in (workplace, *workplace.rglob("*")))
        except OSError:  # another process clears it away, or is at work in it
            continue
        if changed < oldest:
            shutil.rmtree(workplace, ignore_errors=True)


def _build(workplace: Path) -> Path:
    """Run this file as a program, so that this process neither waits for torch's own locks nor
    loads a binary from a directory that is about to be moved."""
    package_parent = str(_PACKAGE.parent)
    path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", f"{__package__}.{Path(__file__).stem}", str(workplace)]
    result = subprocess.run(
        command,
        env={
            **os.environ,
            **_cuda_environment(),
            "PYTHONPATH": path,
            "PATH": _path_with_scripts(),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    built = [file for file in workplace.iterdir() if file.suffix in (".so", ".pyd", ".dylib")]
    if result.returncode != 0 or len(built) != 1:
        instead = "" if _toolkit() is None else " (SCNP_BUILD=cpu compiles the CPU kernels alone)"
        raise CannotCompileError(f"compiling them on first use failed{instead}:\n{result.stdout}")
    return built[0]


def _build_in_this_process(workplace: Path) -> None:
    from torch.utils import cpp_extension  # slow to import: only when something is compiled

    cpp_extension.load(
        name=_MODULE,
        sources=[str(source) for source in sources(source_directory(), _toolkit() is not None)],
        extra_cflags=compile_flags(source_directory(), _cuda_version()),
        extra_cuda_cflags=nvcc_flags(),
        build_directory=str(workplace),
        is_python_module=False,
    )


def _publish(built: Path, directory: Path) -> Path:
    """Move the binary into the cache in one step; whoever comes second finds it there."""
    final = directory / f"{_MODULE}{EXTENSION_SUFFIXES[0]}"
    directory.mkdir(mode=0o700, exist_ok=True)
    # On the disk before its name is: a machine that fails in between leaves no empty file there.
    with built.open("rb+") as file:
        os.fsync(file.fileno())
    return built.replace(final)


@cache
def _cache_directory() -> Path:
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    return root / "scnp_kernels" / _key()


def _key() -> str:
    facts = (
        torch.__version__,
        sys.version,
        sysconfig.get_platform(),
        _compiler_version(),
        # With the digest of the sources, and CXXFLAGS.
        *compile_flags(source_directory(), _cuda_version()),
        *nvcc_flags(),
        _cuda_environment(),
        os.environ.get("TORCH_CUDA_ARCH_LIST", "") if _toolkit() is not None else "",
    )
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return f"torch-{torch.__version__}-{digest}"


def _toolkit() -> Path | None:
    """The CUDA toolkit, if CUDA kernels are compiled."""
    return cuda_toolkit.find_toolkit() if reason_against_cuda() is None else None


def _cuda_version() -> str | None:
    toolkit = _toolkit()
    return None if toolkit is None else cuda_toolkit.nvcc_version(toolkit)


def _cuda_environment() -> dict[str, str]:
    toolkit = _toolkit()
    if toolkit is None:
        return {}
    return cuda_toolkit.environment(toolkit, gpus_visible=torch.cuda.is_available())


def _compiler() -> str:
    return os.environ.get("CXX") or ("cl" if os.name == "nt" else "c++")


def _compiler_version() -> str:
    try:
        result = subprocess.run(
            [_compiler(), "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return "none"
    return result.stdout


def _path_with_scripts() -> str:
    """PATH, and where pip puts this environment's ninja when it is not activated."""
    return os.pathsep.join([os.environ.get("PATH", ""), sysconfig.get_path("scripts")])


def _say(message: str) -> None:
    print(f"scnp_kernels: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _build_in_this_process(Path(sys.argv[1]))
