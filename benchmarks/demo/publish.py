"""Put the results of a demo into the repository: its picture, its figures, the docs' table.

    python -m benchmarks.demo.publish demo_output topomortar256

copies ``summary.csv``, ``scores.csv`` and ``picture.png`` to ``benchmarks/results/demo`` and
rewrites the block ``demo-topomortar256`` of docs/evidence.md.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.files import read_csv, written_whole
from benchmarks.common.readme import update_file
from benchmarks.common.tables import markdown_of
from benchmarks.demo.report import MEAN

ROOT = Path(__file__).resolve().parents[2]
FILES = {"summary.csv": ".csv", "scores.csv": "-scores.csv", "picture.png": ".png"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish; returns 0, or 1 after one line on stderr that says what is missing."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 2:
        print(f"error: got {len(arguments)} arguments, takes OUT_FOLDER NAME", file=sys.stderr)
        return 1
    folder, name = Path(arguments[0]), arguments[1]
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        print(f"error: {folder} holds no {', '.join(missing)}; run the demo first", file=sys.stderr)
        return 1
    publish(folder, name, ROOT / "benchmarks" / "results" / "demo", ROOT / "docs" / "evidence.md")
    return 0


def publish(folder: Path, name: str, results: Path, page: Path) -> None:
    """Copy a demo's files into ``results`` under ``name``, and rewrite the page's block."""
    for file, suffix in FILES.items():
        with written_whole(results / f"{name}{suffix}") as temporary:
            shutil.copyfile(folder / file, temporary)
    update_file(page, {f"demo-{name}": markdown_table(read_csv(folder / "summary.csv"))})


def markdown_table(rows: Sequence[dict[str, str]]) -> str:
    """The rows of ``summary.csv``, every seed and the mean over seeds."""
    shown = []
    for row in rows:
        collapse = row.get("collapse")
        figures = (("dice", 4), ("betti0_error", 2), ("cldice", 4))
        texts = [f"{float(row[name]):.{digits}f}" if row[name] else "" for name, digits in figures]
        seed = f"{row['seed']} ({collapse})" if collapse else row["seed"]
        titles = ("method", "seed", "Dice", "Betti-0 error (8-connectivity)", "clDice")
        cells = dict(zip(titles, (row["method"], seed, *texts), strict=True))
        strong = "**" if row["seed"] == MEAN else ""
        shown.append(
            {title: f"{strong}{cell}{strong}" if cell else "" for title, cell in cells.items()}
        )
    return markdown_of(shown)


if __name__ == "__main__":
    sys.exit(main())
