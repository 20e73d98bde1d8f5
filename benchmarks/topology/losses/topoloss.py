"""TopoLoss: components and holes of the predicted probabilities, compared with the truth's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from cripser import computePH_T
from torch import Tensor

from benchmarks.topology.losses.library_losses import dice_cross_entropy
from benchmarks.topology.losses.segmentation_loss import SegmentationLoss
from scnp_kernels.metrics import betti_numbers

WEIGHT = 100.0
FIRST_PROGRESS = 0.9  # before, the term costs much and says little (Valverde et al., H.1)
PATCH_SIDES = {2: 64, 3: 32}  # pixels, by the number of dimensions
NOISE = 0.03  # features that persist less are left alone
NEVER = -1  # in place of a pixel of death

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Features:
    """Components, holes (and in 3D cavities) of a map of probabilities, as its level sinks.

    ``birth`` and ``death`` are the pixels at whose probabilities each of them appears and merges
    or fills, as flat indices into the map [*spatial]. NEVER stands for a death at probability 0,
    which is where the last component, the one that all merge into, ends.
    """

    dimension: Indices  # [n]: 0 for components, 1 for holes, 2 for cavities
    birth: Indices  # [n]
    death: Indices  # [n]


def topoloss(spatial_dimensions: int) -> SegmentationLoss:
    """Dice + cross entropy + TopoLoss (Hu et al., NeurIPS 2019, Section 2).

    The persistence diagram of each foreground class's probability, in patches, has a dot for
    every component, hole and cavity: its birth and its death, as the level sinks from 1 to 0. The
    truth's dots all lie at (birth 1, death 0). The loss adds the squared distances between
    matched dots, and of dots without a match to the diagonal, divided by the number of pixels,
    with weight 100, in the last tenth of the training.

    As in its authors' program the most persistent dots of each dimension are the matched ones
    (theirs has components alone), and dots without a match that persist less than 0.03 are left
    alone. Foreground connects diagonally.
    """
    segmentation = dice_cross_entropy()
    side = PATCH_SIDES[spatial_dimensions]

    def loss(logits: Tensor, label_map: Tensor, progress: float) -> Tensor:
        value = segmentation(logits, label_map, progress)
        if progress < FIRST_PROGRESS:
            return value
        distance = persistence_distance(logits.softmax(1), label_map, side)
        return value + WEIGHT * distance / label_map.numel()

    return loss


def persistence_distance(probabilities: Tensor, label_map: Tensor, side: int) -> Tensor:
    """The squared distances of all dots, summed over images, foreground classes and patches.

    probabilities [B, C, *spatial]; label_map [B, *spatial]; ``side`` of the patches, in pixels.
    """
    detached = probabilities.detach().double().cpu().numpy()
    labels = label_map.cpu().numpy()
    pixels = np.arange(detached.size).reshape(detached.shape)
    matched, unmatched = [np.empty((0, 2), np.int64)], [np.empty((0, 2), np.int64)]
    for image, kind in product(range(detached.shape[0]), range(1, detached.shape[1])):
        for patch in patches(labels.shape[1:], side):
            truth = labels[image][patch] == kind
            in_patch = np.append(pixels[image, kind][patch].ravel(), NEVER)
            kept, removed = dots(detached[image, kind][patch], truth)
            matched.append(in_patch[kept])
            unmatched.append(in_patch[removed])
    births, deaths = _levels(probabilities, np.concatenate(matched))
    to_truth = ((1 - births) ** 2 + deaths**2).sum()
    births, deaths = _levels(probabilities, np.concatenate(unmatched))
    to_diagonal = ((births - deaths) ** 2).sum() / 2
    return to_truth + to_diagonal


def patches(shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most ``side`` pixels a side that cover an image of this shape, side by side."""
    starts = [range(0, length, side) for length in shape]
    for corner in product(*starts):
        yield tuple(slice(start, start + side) for start in corner)


def dots(probability: Array, truth: Mask) -> tuple[Indices, Indices]:
    """Which features of the probability [*spatial] match one of the truth, and which do not.

    Both as pairs [n, 2] of pixels: birth and death, as in :class:`Features`.
    """
    predicted = features(probability)
    persistence = _persistence(probability, predicted)
    kept: list[Indices] = []
    removed: list[Indices] = []
    for dimension, count in enumerate(betti_numbers(truth)):
        members = np.flatnonzero(predicted.dimension == dimension)
        members = members[np.argsort(-persistence[members], kind="stable")]
        kept.append(members[:count])
        surplus = members[count:]
        removed.append(surplus[persistence[surplus] > NOISE])
    pairs = np.stack([predicted.birth, predicted.death], axis=1)
    return pairs[np.concatenate(kept)], pairs[np.concatenate(removed)]


def features(probability: Array) -> Features:
    """Every feature that persists, for probabilities [*spatial] in 2D or 3D."""
    spatial = probability.ndim
    # One row for each: dimension, birth, death (the largest float: never), three coordinates of
    # the pixel of birth, three of the pixel of death.
    rows = computePH_T(1 - probability, maxdim=spatial - 1).reshape(-1, 9)
    endless = rows[:, 2] >= np.finfo(np.float64).max
    birth = _flat(rows[:, 3 : 3 + spatial], probability.shape)
    death = _flat(np.where(endless[:, np.newaxis], 0, rows[:, 6 : 6 + spatial]), probability.shape)
    found = Features(rows[:, 0].astype(np.int64), birth, np.where(endless, NEVER, death))
    persists = _persistence(probability, found) > 0
    return Features(found.dimension[persists], found.birth[persists], found.death[persists])


def _flat(coordinates: Array, shape: tuple[int, ...]) -> Indices:
    flat: Indices = np.ravel_multi_index(tuple(coordinates.astype(np.int64).T), shape)
    return flat


def _persistence(probability: Array, found: Features) -> Array:
    levels = np.append(probability.ravel(), 0.0)  # NEVER, -1, is the level 0
    persistence: Array = levels[found.birth] - levels[found.death]
    return persistence


def _levels(probabilities: Tensor, pairs: Indices) -> tuple[Tensor, Tensor]:
    """The probabilities at births and deaths [n, 2], where NEVER is the level 0."""
    levels = torch.cat([probabilities.flatten(), probabilities.new_zeros(1)])
    indices = torch.from_numpy(pairs).to(probabilities.device)
    return levels[indices[:, 0]], levels[indices[:, 1]]
