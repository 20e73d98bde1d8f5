"""Facts about the machine and the programs on it that a measurement depends on."""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import cpuinfo
import torch

import scnp_kernels
from scnp_kernels.backends.native import loader as native

try:
    import psutil
except ImportError:  # on Unix it asks for the module `resource`, which not every Python has
    psutil = None

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DEFAULT_CACHE = 32 << 20
_SHARES = 256  # of memory: one is for the logits of one process
_UNKNOWN = "unknown"


def machine_facts(threads: int) -> dict[str, str]:
    """Everything worth knowing, in the order in which to read it."""
    native.load()  # only then does the record know the instruction set
    build = native.build_record() or {}
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": cpuinfo.get_cpu_info().get("brand_raw") or platform.machine(),
        "cores": str(os.cpu_count()),
        "caches": ", ".join(f"{name} {size >> 10} KiB" for name, size in caches().items())
        or _UNKNOWN,
        "memory": _memory(),
        "huge pages": _huge_pages(),
        "OS": _system(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "compiler of torch.compile": compiler(),
        "threads": str(threads),
        "scnp_kernels": scnp_kernels.__version__,
        "git revision": git_revision(),
        "compiler of the kernels": str(build.get("compiler", "not compiled")),
        "CPU capability of the kernels": str(build.get("capability", _UNKNOWN)),
        "CPU capability of torch": torch.backends.cpu.get_cpu_capability(),
        "load before": load_average(),
    }


def load_average() -> str:
    """Programs that want a core, over the last minute: above 0.5 or so, something else ran."""
    return _UNKNOWN if psutil is None else f"{psutil.getloadavg()[0]:.2f}"


@functools.cache
def caches() -> dict[str, int]:
    """Bytes of each cache that the first core sees; empty where the system does not tell.

    py-cpuinfo adds up those of all cores, of which one buffer passes through a few.
    """
    found = {}
    for index in sorted(_CACHES.glob("index*")):
        level, kind, size = (
            (index / name).read_text(encoding="utf-8").strip() for name in ("level", "type", "size")
        )
        name = f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")
        found[name] = int(size[:-1]) * _UNITS[size[-1]] if size[-1] in _UNITS else int(size)
    return found


def thread_counts() -> tuple[int, ...]:
    """1, 2, 4, ... up to 16 or the number of cores."""
    cores = psutil and psutil.cpu_count(logical=False)
    return tuple(n for n in (1, 2, 4, 8, 16) if n <= (cores or os.cpu_count() or 1))


def past_cache_bytes() -> int:
    """Twice the largest cache: so much does not stay in it. Less where memory has no room for it.

    A virtual machine of few cores sees the whole cache of a large chip, and a dozen processes hold
    some times as much each.
    """
    twice = 2 * max(caches().values(), default=_DEFAULT_CACHE)
    return min(twice, (psutil.virtual_memory().total if psutil else twice * _SHARES) // _SHARES)


def git_revision() -> str:
    """Of the checkout that this file lies in."""
    git = ["git", "-C", str(Path(__file__).parent)]
    revision = _output_of([*git, "rev-parse", "--short=12", "HEAD"])
    if revision is None:
        return _UNKNOWN
    # What a run writes itself must not make the revision look changed.
    changes = _output_of([*git, "status", "--porcelain", "--", ":/scnp_kernels", ":/csrc"])
    return f"{revision} (kernels changed since)" if changes else revision


def _system() -> str:
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {system}"
    except (OSError, KeyError):
        return system


def _memory() -> str:
    return _UNKNOWN if psutil is None else f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB"


def _huge_pages() -> str:
    try:
        match = re.search(r"\[(\w+)\]", _HUGE_PAGES.read_text(encoding="utf-8"))
    except OSError:
        return _UNKNOWN
    return match[1] if match else _UNKNOWN


def compiler() -> str:
    """The first line of what torch.compile's C++ compiler says of itself."""
    command = [*shlex.split(os.environ.get("CXX", "")), "--version"]
    command = command if len(command) > 1 else ["g++", *command]
    if shutil.which(command[0]) is None:
        return "none"
    return (_output_of(command) or _UNKNOWN).splitlines()[0]


def _output_of(command: list[str]) -> str | None:
    try:
        result = subprocess.run(command, capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.decode(errors="replace").strip()  # in whatever encoding it speaks
