"""What decides a result: the recipe of the training, the scoring, and one run among many."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.errors import UsageError
from benchmarks.common.files import is_plain_name, write_text
from benchmarks.common.tables import by

LEVELS = 5  # of the network
# Every level but one halves the image, so sides must be a multiple of this.
SIDE_MULTIPLE = 2 ** (LEVELS - 1)

PRECISIONS = ("float32", "bfloat16")
# What files of earlier versions, which lack these settings, were trained with.
EARLIER = {"foreground_share": 0.0, "precision": "float32"}

_Taken = tuple[Callable[[Any], bool], str]


@dataclass(frozen=True)
class Configuration:
    """How to train and score; the same for every run of an output folder."""

    spatial_dimensions: int
    iterations: int
    crop: tuple[int, ...]  # sides, one per spatial axis
    batch_size: int
    foreground_share: float  # of every batch's crops: so many are drawn around foreground
    precision: str  # of the network in training: "float32", or "bfloat16" where it is faster
    optimizer: str  # "sgd" (Nesterov, momentum 0.9) or "adam"
    learning_rate: float  # times (1 - progress) ** 0.9
    features: tuple[int, ...]  # channels of the U-Net's five levels, then of its last layer
    validations: int  # how often the validation split is measured, and the state saved
    classes: int
    mask_key: str | None
    tests: tuple[str, ...]  # splits that are scored
    connectivity: int  # neighbours of a pixel, for the Betti-0 error
    measures: tuple[str, ...]
    tile: int  # volumes are scored on cubes of about this side; 0: whole

    def to_json(self) -> dict[str, object]:
        """As plain lists, numbers and text."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def differences(self, other: Configuration) -> list[str]:
        """Every setting that differs, as text: name, own value, the other's."""
        mine, theirs = self.to_json(), other.to_json()
        return [
            f"{name} {mine[name]!r} and {theirs[name]!r}"
            for name in mine
            if mine[name] != theirs[name]
        ]


# SGD rather than Adam: on TopoMortar's validation images, in 300 iterations, Adam on SCNP logits
# alone swung between good and bad (it did no better without SCNP).
_FOR_IMAGES = Configuration(
    spatial_dimensions=2,
    iterations=5000,  # at most: the plain baseline tells how many do
    crop=(128, 128),
    batch_size=2,
    foreground_share=1 / 3,
    precision="float32",
    optimizer="sgd",
    learning_rate=0.02,
    features=(8, 16, 32, 64, 64, 8),
    validations=10,
    classes=2,
    mask_key=None,
    tests=("test",),
    connectivity=8,
    measures=("dice", "betti0_error", "cldice"),
    tile=0,
)
DEFAULTS: dict[int, Configuration] = {
    2: _FOR_IMAGES,
    3: dataclasses.replace(
        _FOR_IMAGES,
        spatial_dimensions=3,
        crop=(32, 32, 32),
        features=(8, 16, 32, 32, 32, 8),
        connectivity=6,
        measures=("dice", "betti0_error"),
        tile=50,
    ),
}


@dataclass(frozen=True)
class RunKey:
    """One training: which loss, with SCNP or without, which window, which seed."""

    loss: str
    mode: str  # one of MODES
    kernel_size: tuple[int, ...]  # one odd number, or one per axis; (1,) when the mode is off
    seed: int

    @property
    def identifier(self) -> str:
        """A folder's name, such as ce_dice-on-w3-seed0."""
        window = "" if self.mode == "off" else f"-w{self.window}"
        return f"{self.loss}-{self.mode}{window}-seed{self.seed}"

    @property
    def window(self) -> str:
        """The window as text: 3, or 1x3x3; nothing when the mode is off."""
        return "" if self.mode == "off" else by(self.kernel_size)


def grid(
    losses: Sequence[str],
    modes: Sequence[str],
    kernel_sizes: Sequence[tuple[int, ...]],
    seeds: Sequence[int],
) -> list[RunKey]:
    """Every combination once, all of the first seed first: tables are complete early."""
    keys = [
        RunKey(loss, mode, (1,) if mode == "off" else kernel_size, seed)
        for seed in seeds
        for loss in losses
        for mode in modes
        for kernel_size in kernel_sizes
    ]
    return list(dict.fromkeys(keys))


def read_configuration(file: Path) -> Configuration:
    """The configuration that a run left behind, perhaps changed by hand. Raises UsageError."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["configuration"]
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        values = {**EARLIER, **values}
        configuration = Configuration(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: is no configuration that can be read ({error})") from error
    for name, (fits, takes) in TAKEN.items():
        if not fits(values[name]):
            raise UsageError(f"{file}: {name}: got {json.dumps(values[name])}, takes {takes}")
    return configuration


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(map(holds, value))


def _is_split(value: object) -> bool:
    return isinstance(value, str) and is_plain_name(value)


def _is_word(value: object) -> bool:
    return isinstance(value, str)


_COUNT: _Taken = (_is_count, "a whole number of 1 or more")
_COUNTS: _Taken = (
    lambda value: _is_list(value, _is_count),
    "a list of whole numbers of 1 or more",
)
_WORDS: _Taken = (lambda value: _is_list(value, _is_word), "a list of words")

# What every setting of a file takes: whether a value fits, and how to say it.
TAKEN: dict[str, _Taken] = {
    "spatial_dimensions": (lambda value: value in (2, 3), "2 or 3"),
    "iterations": _COUNT,
    "crop": _COUNTS,
    "batch_size": _COUNT,
    "foreground_share": (
        lambda value: _is_number(value) and 0 <= value <= 1,
        "a number from 0 to 1",
    ),
    "precision": (lambda value: value in PRECISIONS, " or ".join(PRECISIONS)),
    "optimizer": (lambda value: value in ("sgd", "adam"), "sgd or adam"),
    "learning_rate": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "features": _COUNTS,
    "validations": _COUNT,
    "classes": _COUNT,
    "mask_key": (lambda value: value is None or _is_word(value), "a word or null"),
    "tests": (lambda value: _is_list(value, _is_split), "a list of names of folders"),
    "connectivity": _COUNT,
    "measures": _WORDS,
    "tile": (lambda value: value == 0 or _is_count(value), "a whole number of 0 or more"),
}


def write_json(file: Path, content: dict[str, object]) -> None:
    """A JSON file, written whole."""
    write_text(file, json.dumps(content, indent=2))
