"""How numbers and cases read in tables and pictures."""

from __future__ import annotations

from benchmarks.kernels.cases import LABELS
from benchmarks.kernels.results import Record


def number(value: float) -> str:
    """Three digits, and never an exponent.

    >>> [number(value) for value in (0.012345, 1.2345, 12.345, 1234.5)]
    ['0.0123', '1.23', '12.3', '1234']
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def times(value: float) -> str:
    """A ratio."""
    return f"{number(value)}x"


def shape_of(record: Record) -> str:
    """``2x2x1280x1024``."""
    return "x".join(map(str, record.shape))


def case_of(record: Record) -> str:
    """The shape, the window, and what differs from a contiguous float32 and a label map."""
    parts = [shape_of(record), f"w = {record.kernel_size}"]
    parts += [record.dtype] if record.dtype != "float32" else []
    parts += [record.target] if record.target != LABELS else []
    parts += ["channels_last"] if record.channels_last else []
    if record.threads is not None:
        parts += [f"{record.threads} thread" + "s" * (record.threads > 1)]
    return ", ".join(parts)
