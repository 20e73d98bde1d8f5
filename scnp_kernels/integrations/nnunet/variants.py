"""Variants of a trainer: classes of their own, named after the options that they change.

nnU-Net names a training's folder after its trainer's class. So an option that is set by a variable
makes another class, and two trainings with other options never share a folder:

    nnUNetTrainerSCNP_w5                a window of 5, adapted to the spacing
    nnUNetTrainerSCNP_w1x3x3            1 x 3 x 3, taken as it is
    nnUNetTrainerSCNP_w5-3-3            5 at the finest output, 3 at the others
    nnUNetTrainerSCNP_w5_plain0.5       and half the loss on plain outputs added
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...rules.arguments import KernelSize, check_kernel_size
from ...rules.weights import check_weight

Trainer = type[Any]  # with the class attributes of PenalizedTraining

_NAME = re.compile(r"(?P<trainer>\w+?)(?:_w(?P<windows>[0-9x-]+))?(?:_plain(?P<plain>[-+.e0-9]+))?")


class Options(NamedTuple):
    """What a variant changes; None leaves the trainer's own."""

    windows: tuple[KernelSize, ...] | None = None  # one for all outputs, or one for each
    plain_weight: float | None = None


def variant_from_variables(trainer: Trainer) -> Trainer:
    """The trainer, or its variant where a variable sets an option to something else.

    Raises:
        ValueError: A variable holds no such option, or contradicts the trainer's name.
    """
    one = os.environ.get("SCNP_KERNEL_SIZE", "").strip()
    per_scale = os.environ.get("SCNP_KERNEL_SIZE_PER_SCALE", "").strip()
    plain = os.environ.get("SCNP_PLAIN_WEIGHT", "").strip()
    windows = plain_weight = None
    if per_scale:
        windows = tuple(
            parse_window("SCNP_KERNEL_SIZE_PER_SCALE", part, ",") for part in per_scale.split(";")
        )
    elif one:
        windows = (parse_window("SCNP_KERNEL_SIZE", one, ","),)
    if plain:
        plain_weight = parse_weight("SCNP_PLAIN_WEIGHT", plain)

    changed = Options(
        None if windows == _windows_of(trainer) else windows,
        None if plain_weight == trainer.SCNP_PLAIN_WEIGHT else plain_weight,
    )
    named: Options = vars(trainer).get("scnp_options_in_name", Options())
    for field, variable in (
        ("windows", "SCNP_KERNEL_SIZE_PER_SCALE" if per_scale else "SCNP_KERNEL_SIZE"),
        ("plain_weight", "SCNP_PLAIN_WEIGHT"),
    ):
        if None not in (getattr(changed, field), getattr(named, field)):
            raise ValueError(
                f"{variable}: got {os.environ[variable]!r} with the trainer {trainer.__name__}, "
                "whose name says otherwise; takes one of the two"
            )
    if changed == Options():
        return trainer
    return make_variant(trainer, trainer.__name__ + suffix(changed), changed)


def variant_by_name(name: str, trainers: Mapping[str, Trainer]) -> Trainer:
    """The variant of one of the trainers that has this name.

    Raises:
        AttributeError: It is not the name of a variant of theirs.
        ValueError: It is, but what it says of the options is none.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["trainer"] not in trainers or name in trainers:
        raise AttributeError(f"no trainer is called {name}")
    windows, plain_weight = match["windows"], match["plain"]
    options = Options(
        tuple(parse_window(name, part, "x") for part in windows.split("-")) if windows else None,
        parse_weight(name, plain_weight) if plain_weight else None,
    )
    return make_variant(trainers[match["trainer"]], name, options)


def make_variant(trainer: Trainer, name: str, options: Options) -> Trainer:
    """A subclass of this name and these options."""
    named: Options = vars(trainer).get("scnp_options_in_name", Options())
    attributes: dict[str, Any] = {
        "scnp_options_in_name": Options(
            named.windows if options.windows is None else options.windows,
            named.plain_weight if options.plain_weight is None else options.plain_weight,
        ),
        "__module__": trainer.__module__,
        "__doc__": trainer.__doc__,
    }
    if options.windows is not None:
        several = len(options.windows) > 1
        attributes["SCNP_KERNEL_SIZE"] = options.windows[0]
        attributes["SCNP_KERNEL_SIZE_PER_SCALE"] = options.windows if several else None
    if options.plain_weight is not None:
        attributes["SCNP_PLAIN_WEIGHT"] = options.plain_weight
    return type(name, (trainer,), attributes)


def suffix(options: Options) -> str:
    """What a variant's name says of its options.

    Example:
        >>> suffix(Options(((1, 5, 5), 3), 1.0))
        '_w1x5x5-3_plain1'
    """
    text = ""
    if options.windows is not None:
        sides = (window if isinstance(window, tuple) else (window,) for window in options.windows)
        text += "_w" + "-".join("x".join(map(str, window)) for window in sides)
    if options.plain_weight is not None:
        text += "_plain" + repr(options.plain_weight).removesuffix(".0")
    return text


def parse_window(name: str, text: str, between_axes: str) -> KernelSize:
    """A window as a variable or a class's name writes it.

    Example:
        >>> parse_window("SCNP_KERNEL_SIZE", "1,3,3", ",")
        (1, 3, 3)
    """
    try:
        sides = check_kernel_size([int(side) for side in text.split(between_axes)])
    except ValueError:
        raise ValueError(
            f"{name}: got {text!r}, takes one odd integer above 0, or one per axis separated by "
            f"{between_axes!r}"
        ) from None
    return sides[0] if len(sides) == 1 else sides


def parse_weight(name: str, text: str) -> float:
    """A weight as a variable or a class's name writes it."""
    try:
        return check_weight(name, float(text))
    except ValueError:
        raise ValueError(
            f"{name}: got {text!r}, takes a finite number that is not negative"
        ) from None


def _windows_of(trainer: Trainer) -> tuple[KernelSize, ...]:
    per_scale = trainer.SCNP_KERNEL_SIZE_PER_SCALE
    return (trainer.SCNP_KERNEL_SIZE,) if per_scale is None else tuple(per_scale)
