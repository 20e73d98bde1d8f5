"""Tables as Markdown to read and CSV to work with, and how numbers read in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common.files import write_csv, written_whole


def write_table(
    folder: Path,
    name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    before: str = "",
    after: str = "",
) -> None:
    """``name.md`` and ``name.csv`` in ``folder``; the Markdown has text before and after."""
    write_csv(folder / f"{name}.csv", header, rows)
    parts = [before, markdown(header, rows), after]
    with written_whole(folder / f"{name}.md") as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

    >>> print(markdown(("loss", "Dice"), [("ce", 0.9)]))
    | loss | Dice |
    |---|---|
    | ce | 0.9 |
    """
    lines = [_line(header), "|" + "---|" * len(header)]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def number(value: float) -> str:
    """Three digits, and never an exponent.

    >>> [number(value) for value in (0.012345, 1.2345, 12.345, 1234.5)]
    ['0.0123', '1.23', '12.3', '1234']
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def times(value: float) -> str:
    """A ratio."""
    return f"{number(value)}x"


def between(middle: float, low: float, high: float) -> str:
    """A median with the quartiles around it."""
    return f"{number(middle)} ({number(low)} to {number(high)})"
