"""What command-line options take, and how they say so."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

from benchmarks.common.errors import UsageError
from benchmarks.common.files import is_plain_name
from benchmarks.common.masks import MOST_CLASSES
from benchmarks.topology.records import data_set_folders
from benchmarks.topology.results import Results, read_results


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, takes a whole number of at least 1")
    return number


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, takes a whole number of at least 0")
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1, or a fraction such as 1/3."""
    try:
        number = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, takes a number from 0 to 1")
    return number


def sides(text: str) -> tuple[int, ...]:
    """Whole numbers joined by x, such as 128 or 32x48x48."""
    try:
        return tuple(positive(part) for part in text.lower().split("x"))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, takes whole numbers of at least 1, joined by x"
        ) from error


def lengths(text: str) -> tuple[float, float, float]:
    """Three numbers above 0 joined by x, such as 5x1x1 or 40x8x8.2."""
    try:
        depth, height, width = (float(part) for part in text.lower().split("x"))
    except ValueError:
        depth = height = width = float("nan")
    if not all(0 < length < float("inf") for length in (depth, height, width)):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, takes three numbers above 0 joined by x: depth, height, width"
        )
    return depth, height, width


def kernel_size(text: str) -> tuple[tuple[int, ...], ...]:
    """Windows, comma-separated; each an odd number or one per axis joined by x."""
    windows = tuple(sides(part) for part in text.split(","))
    if any(side % 2 == 0 for window in windows for side in window):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, takes odd numbers, such as 3, or 3,5,7 for several, or 1x3x3"
        )
    return windows


def words(text: str) -> tuple[str, ...]:
    """Comma-separated words."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"got {text!r}, takes at least one word")
    return found


def splits(text: str) -> tuple[str, ...]:
    """Names of a data set's parts, which its folders have, and the reports about them."""
    found = words(text)
    for word in found:
        split(word)
    return found


def split(text: str) -> str:
    """The name of one of a data set's parts."""
    if not is_plain_name(text):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, takes names of folders in the data set's, such as test or test_ood"
        )
    return text


def one_of(known: Iterable[str], everything: str = "") -> Callable[[str], tuple[str, ...]]:
    """Comma-separated words out of ``known``; ``everything`` stands for all of them."""
    names = tuple(known)

    def parse(text: str) -> tuple[str, ...]:
        if everything and text == everything:
            return names
        found = words(text)
        for word in found:
            if word not in names:
                raise argparse.ArgumentTypeError(
                    f"got {word!r}, takes {', '.join(names)}"
                    + (f", or {everything}" if everything else "")
                )
        return found

    return parse


def check_classes(classes: int) -> None:
    """Raises UsageError unless so many classes, background included, can be told apart."""
    if not 2 <= classes <= MOST_CLASSES:
        raise UsageError(f"--classes: got {classes}, takes 2 or more, up to {MOST_CLASSES}")


def add_results_arguments(parser: argparse.ArgumentParser) -> None:
    """Where finished runs lie, and where the report goes."""
    parser.add_argument("out", type=Path, help="the --out of `run`, or one data set's folder in it")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="write to DIR/DATA_SET (default: OUT/DATA_SET)"
    )


Reports = list[tuple[Results, Path]]  # of every data set, with the folder where its report goes


def reports(options: argparse.Namespace) -> Reports:
    """What a command reports."""
    return [
        (read_results(folder), options.to / folder.name if options.to else folder)
        for folder in data_set_folders(options.out)
    ]


def warnings(found: Reports) -> list[str]:
    """A sentence for every data set of which trainings collapsed."""
    return [results.warning for results, _ in found if results.warning]
