"""Which numbers masks hold, and what is taken for what: a user should not have to guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common.errors import DataError

MOST = 8  # nonzero numbers that may be classes; more are instances or shades
WHITE = 255  # of the last class, where classes are grey levels

Numbers = tuple[int, ...]


def few_numbers(values: npt.NDArray[Any]) -> Numbers:
    """The nonzero numbers of a mask, sorted; none where they are more than MOST or no whole ones.

    Example:
        >>> few_numbers(np.array([[0, 255], [127, 127]])), few_numbers(np.arange(300))
        ((127, 255), ())
    """
    found: list[int] = []
    rest = values[values != 0]
    while rest.size and len(found) <= MOST:
        number = rest[0]
        if number % 1:
            return ()
        found.append(int(number))
        rest = rest[rest != number]
    return tuple(sorted(found)) if len(found) <= MOST else ()


def grey_levels(classes: int) -> list[float]:
    """The greys of so many classes, evenly from 0 to 255: 0, 127.5 and 255 for three."""
    return [WHITE * label / (classes - 1) for label in range(classes)]


def labels_of_greys(numbers: Numbers, classes: int) -> dict[int, int] | None:
    """The label of every number, if all of them are grey levels of so many classes.

    127.5 may be 127 or 128. None where another number is among them, or one could be a label.

    Example:
        >>> labels_of_greys((127, 255), 3), labels_of_greys((1, 255), 3)
        ({127: 1, 255: 2}, None)
    """
    if not numbers or not 3 <= classes <= MOST + 1:
        return None
    levels = np.array(grey_levels(classes))
    labels = {number: int(np.abs(levels - number).argmin()) for number in numbers}
    near = all(abs(levels[label] - number) < 1 for number, label in labels.items())
    return labels if near and min(numbers) > 0 else None


def classes_in(numbers: Numbers) -> int | None:
    """The --classes that read these numbers as labels or as grey levels; None if there is none."""
    if min(numbers) > 0 and max(numbers) <= MOST:
        return max(numbers) + 1
    fitting = (n for n in range(3, MOST + 2) if labels_of_greys(numbers, n) and WHITE in numbers)
    return next(fitting, None)


def how_numbers_are_read(numbers_of_masks: Sequence[Numbers], classes: int) -> str:
    """A sentence if the masks' numbers are taken for something else; else nothing."""
    numbers = tuple(sorted(set().union(*numbers_of_masks)))
    if classes > 2:
        labels = labels_of_greys(numbers, classes)
        if labels is None:
            return ""
        read = ", ".join(f"{number} as {label}" for number, label in {0: 0, **labels}.items())
        return f"the masks' grey levels are read as labels ({read})"
    if not 2 <= len(numbers) <= MOST:
        return ""
    fitting = classes_in(numbers)
    way = (
        f"--classes {fitting} tells them apart"
        if fitting is not None
        else f"write them as labels from 1 to {len(numbers)}, which --classes {len(numbers) + 1} "
        "tells apart"
    )
    return (
        f"the masks' numbers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} count as one "
        f"class: if they are several, {way} (`benchmarks.topology`)"
    )


def check_numbers(numbers_of_masks: Mapping[str, Numbers], classes: int) -> None:
    """Raises DataError where masks (by name) do not agree on whether they hold grey levels.

    255 beside labels often means "not labelled", and would be read as the last class.
    """
    greys = {mask: n for mask, n in numbers_of_masks.items() if n and max(n) >= classes}
    if classes == 2 or not greys:
        return
    labels = {mask: n for mask, n in numbers_of_masks.items() if n and max(n) < classes}
    first = next(iter(greys))
    if labels:
        other = next(iter(labels))
        raise DataError(
            f"{first}: holds a grey level ({_listed(greys[first])}), but {other} holds the numbers "
            f"{_listed(labels[other])}; takes one of both in all masks, and 0 where nothing is "
            f"labelled (--classes {classes})"
        )
    if all(set(n) == {WHITE} for n in greys.values()):
        raise DataError(
            f"{first}: holds no other number but {WHITE}, as all masks here; takes labels from 0 "
            f"to {classes - 1} or {levels_listed(classes)} with --classes {classes}, and black and "
            "white without"
        )


def levels_listed(classes: int) -> str:
    """The greys of so many classes, as text."""
    return "grey levels " + ", ".join(str(int(level)) for level in grey_levels(classes))


def _listed(numbers: Numbers) -> str:
    return ", ".join(map(str, numbers))
