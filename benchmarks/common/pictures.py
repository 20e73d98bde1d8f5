"""Pictures as files, each whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.files import written_whole


@contextmanager
def picture(
    file: Path, width: float, height: float, dpi: int = 110, **options: Any
) -> Iterator[Figure]:
    """A figure of so many inches to draw on; it is saved when the block ends without an error."""
    figure = Figure(figsize=(width, height), **{"layout": "constrained", **options})
    yield figure
    with written_whole(file) as temporary:
        figure.savefig(temporary, dpi=dpi)


@contextmanager
def panels(
    file: Path, width: float, height: float, count: int, sharey: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """The same, with so many panels beside each other."""
    with picture(file, width, height) as figure:
        yield figure, list(figure.subplots(1, count, squeeze=False, sharey=sharey)[0])


def title(figure: Figure, text: str, warning: str = "", size: float = 12) -> None:
    """Title the figure; a warning stands below in lines, by which the figure grows."""
    lines = wrap(warning, int(120 * figure.get_figwidth() / size))
    grow(figure, len(lines), size)
    figure.suptitle("\n".join(filter(None, [text, *lines])), fontsize=size)


def grow(figure: Figure, lines: int, size: float) -> None:
    """Make room for so many more lines of text, in points."""
    figure.set_figheight(figure.get_figheight() + lines * size / 50)
