"""Write files whole: a reader, or an interrupted run, never meets half a file."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common.errors import UsageError


def is_plain_name(name: str) -> bool:
    """Whether it can name a file or a folder, and leads into no other one."""
    return bool(name) and name not in (".", "..") and Path(name).name == name


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name to write to; it becomes `path` when the block ends without an error.

    Its folder is made where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".unfinished_{path.name}")  # same suffix: it tells the format
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it becomes ``path`` when the block ends without an error.

    Raises UsageError where ``path`` is there and holds something: nothing is overwritten, and two
    data sets are never mixed.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; takes a new or empty folder")
    held = next(path.iterdir(), None) if path.is_dir() else None
    if held is not None:
        raise UsageError(f"{path}: holds {held.name}; takes a new or empty folder")
    path = path.resolve()  # "." has no name of its own
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".unfinished_{path.name}_", dir=path.parent) as around:
        temporary = Path(around) / path.name  # with the permissions of any new folder
        temporary.mkdir()
        yield temporary
        if path.is_dir():  # somebody may stand in it, or have mounted it
            for child in temporary.iterdir():
                shutil.move(child, path)
        else:
            temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8 that ends with a new line."""
    with written_whole(path) as temporary:
        temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV file; the first row's keys are the header line. Floats have six digits."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]) if rows else [])
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def read_csv(path: Path) -> list[dict[str, str]]:
    """A CSV file's rows by column name."""
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))
