"""The most memory that this process has held so far, on any system."""

from __future__ import annotations

import sys

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_mebibytes() -> float | None:
    """With data and libraries, in MiB; None where the system does not tell."""
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, kibibytes elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    try:
        import psutil
    except ImportError:
        return None
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)  # of Windows alone
    return None if peak is None else float(peak) / 2**20
