"""Rows: one line of JSON for whatever became known, appended at once, so that nothing is lost."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def append(file: Path, row: Row) -> None:
    """Append a row as one line. Several processes may append to one file at the same time."""
    line = (json.dumps({"time": round(time.time(), 3), **row}, default=str) + "\n").encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)  # in one piece: others' lines come before or after it
    finally:
        os.close(descriptor)


def read(file: Path) -> list[Row]:
    """Return the rows of a file, none where there is none; a line cut short is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # its process was killed while it wrote
            continue
        if isinstance(row, dict):
            found.append(row)
    return found
