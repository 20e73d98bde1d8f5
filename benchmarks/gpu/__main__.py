"""Measure one part, or compile a share of it beforehand.

python -m benchmarks.gpu penalization --rows FILE --seconds N
python -m benchmarks.gpu warm --share 0/4
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

PARTS = ("penalization", "losses", "training_step", "counters")


def main() -> int:
    """Return the exit status: 0 if all that was reached could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("part", choices=(*PARTS, "warm"))
    parser.add_argument("--rows", type=Path, help="file that rows of JSON are appended to")
    parser.add_argument("--seconds", type=float, default=600, help="begin no job after so long")
    parser.add_argument("--share", default="0/1", help="of warm: the number of this share/shares")
    options = parser.parse_args()
    if options.part == "warm":
        from benchmarks.gpu.warm import compile_share

        share, shares = map(int, options.share.split("/"))
        compile_share(share, shares)
        return 0
    if options.rows is None:
        parser.error("--rows is missing")
    from benchmarks.gpu import program

    part = importlib.import_module(f"benchmarks.gpu.{options.part}")
    return program.run(part.jobs(), options.rows, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
