"""Tables as Markdown to read and CSV to work with, and how numbers read in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.common.files import write_csv, write_text

Row = Mapping[str, object]  # cells by the name of their column
Table = list[dict[str, object]]


def write_table(
    folder: Path,
    name: str,
    rows: Sequence[Row],
    before: str = "",
    after: str = "",
    warning: str = "",
) -> None:
    """``name.md`` and ``name.csv`` in ``folder``; the Markdown has text before and after.

    It begins with the ``warning``, if there is one.
    """
    write_csv(folder / f"{name}.csv", rows)
    parts = [warning, before, markdown_of(rows), after]
    write_text(folder / f"{name}.md", "\n\n".join(part for part in parts if part))


def markdown_of(rows: Sequence[Row]) -> str:
    """A Markdown table of rows that all have the same columns.

    >>> print(markdown_of([{"loss": "ce", "Dice": 0.9}]))
    | loss | Dice |
    |---|---|
    | ce | 0.9 |
    """
    if not rows:
        return "Nothing was measured."
    return markdown(list(rows[0]), (list(row.values()) for row in rows))


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table whose columns may have one name twice, or that may have no row yet."""
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


def by(sides: Iterable[float], sign: str = "x") -> str:
    """Sides as people write them.

    >>> by((2, 2, 1280, 1024)), by((5.0, 0.5, 0.5), " x ")
    ('2x2x1280x1024', '5 x 0.5 x 0.5')
    """
    return sign.join(f"{side:g}" if isinstance(side, float) else str(side) for side in sides)


def either(words: Iterable[str]) -> str:
    """Words as alternatives, each once.

    >>> either(("images", "cubes", "images", "volumes")), either(["images"]), either(())
    ('images, cubes or volumes', 'images', '')
    """
    *others, last = dict.fromkeys(words) or [""]
    return f"{', '.join(others)} or {last}" if others else last
