"""Random training crops, of which a share is drawn around foreground, turned and mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.topology.configuration import Configuration
from benchmarks.topology.datasets import Labels, Planes, Sample

# Pixels of a label that are remembered of one image: more would not make crops more various.
REMEMBERED = 10_000

Centre = tuple[int, ...]
_Pixels = npt.NDArray[np.int64]  # flat indices into one image


class Crops:
    """Draws batches from training images; what it looks up in them, it looks up once.

    Of every batch the first ``foreground_share`` of the crops, rounded up, are drawn as nnU-Net
    draws them: a foreground label out of those that occur, each as likely; an image that has it; a
    pixel of the label there; and the crop with this pixel in its middle, moved into the image. The
    others lie anywhere.
    """

    def __init__(self, samples: Sequence[Sample], configuration: Configuration) -> None:
        """Raises ValueError where crops around foreground are asked for and there is none."""
        self._samples = samples
        self._sides = configuration.crop
        self._batch_size = configuration.batch_size
        self._around_foreground = ceil(configuration.batch_size * configuration.foreground_share)
        of_labels: list[list[tuple[int, _Pixels]]] = []
        if self._around_foreground:
            by_image = [_remembered(s.truth, configuration.classes) for s in samples]
            of_labels = [
                [(index, of[label]) for index, of in enumerate(by_image) if label in of]
                for label in range(1, configuration.classes)
            ]
        self._of_labels = [of_label for of_label in of_labels if of_label]
        if self._around_foreground and not self._of_labels:
            raise ValueError("samples: no training image has a foreground pixel")

    def draw(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A batch: images [B, channels, *crop] and labels [B, *crop], decided by ``random``."""
        crops = []
        for number in range(self._batch_size):
            if number < self._around_foreground:
                of_label = self._of_labels[int(random.integers(len(self._of_labels)))]
                index, pixels = of_label[int(random.integers(len(of_label)))]
                pixel = pixels[int(random.integers(len(pixels)))]
                shape = self._samples[index].truth.shape
                centre = tuple(int(i) for i in np.unravel_index(pixel, shape))
            else:
                index, centre = int(random.integers(len(self._samples))), None
            crops.append(_turned(*self._cut(self._samples[index], centre, random), random))
        images, labels = zip(*crops, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)).long()

    def _cut(
        self, sample: Sample, centre: Centre | None, random: np.random.Generator
    ) -> tuple[Planes, Labels]:
        part, padding = [], []
        for axis, (whole, side) in enumerate(zip(sample.truth.shape, self._sides, strict=True)):
            missing = max(0, side - whole)
            if missing:
                before, start = int(random.integers(missing + 1)), 0
            elif centre is None:
                before, start = 0, int(random.integers(whole - side + 1))
            else:
                before, start = 0, min(max(0, centre[axis] - side // 2), whole - side)
            padding.append((before, missing - before))
            part.append(slice(start, start + side))
        image, label = sample.image[(slice(None), *part)], sample.truth[tuple(part)]
        if any(map(any, padding)):  # thin stacks: as `segment` pads them
            image = np.pad(image, [(0, 0), *padding], mode="edge")
            label = np.pad(label, padding, mode="edge")
        return image, label


def _remembered(truth: Labels, classes: int) -> dict[int, _Pixels]:
    """Where the foreground labels of an image lie, of each at most REMEMBERED pixels."""
    pixels = {}
    for label in range(1, classes):
        found = np.flatnonzero(truth == label)
        if found.size > REMEMBERED:  # the same ones for every training
            found = np.random.default_rng(label).choice(found, REMEMBERED, replace=False)
        if found.size:
            pixels[label] = found
    return pixels


def _turned(image: Planes, label: Labels, random: np.random.Generator) -> tuple[Planes, Labels]:
    """Mirrored along some axes, and rows and columns swapped where they are as many."""
    mirrored = tuple(axis for axis in range(label.ndim) if random.random() < 0.5)
    image = np.flip(image, tuple(axis + 1 for axis in mirrored))
    label = np.flip(label, mirrored)
    if label.shape[-1] == label.shape[-2] and random.random() < 0.5:
        image, label = image.swapaxes(-1, -2), label.swapaxes(-1, -2)
    return image, label
