"""What the demo trains and tests on: images with the truth, in three splits."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.common.images import BoolMask, FloatImage


@dataclass(frozen=True)
class Sample:
    """One image with its ground truth."""

    name: str
    image: FloatImage  # [height, width, 3], between 0 and 1
    truth: BoolMask  # [height, width], True where foreground


@dataclass(frozen=True)
class Splits:
    """The images to train on, to watch the training with, and to report."""

    title: str
    train: list[Sample]
    val: list[Sample]
    test: list[Sample]
