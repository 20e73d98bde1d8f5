"""Find the mistakes that change the number of pieces: false components, breaks, missing pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from skimage.measure import label

from benchmarks.common.images import BoolMask

Place = tuple[float, float]  # row, column
Labels = npt.NDArray[np.int64]  # [height, width], 0 where background


@dataclass(frozen=True)
class Marks:
    """Where a segmentation goes wrong topologically.

    The lists account for the whole difference in pieces:
    pieces predicted - pieces true = false components + breaks - missing pieces.
    """

    false_components: list[Place]
    breaks: list[Place]
    missing: list[Place]
    false_mask: BoolMask  # [height, width], the pixels of the false components
    broken_off_mask: BoolMask  # [height, width], the pixels behind the breaks


def find_marks(prediction: BoolMask, truth: BoolMask) -> Marks:
    """The false components, breaks and missing pieces of `prediction`, both [height, width].

    A predicted piece is false where no true pixel lies under it; otherwise it belongs to the
    true piece under most of it. Of the predicted pieces that share a true piece all but the
    largest are broken off, each by one break: the middle of the shortest way to the others. A
    true piece that no predicted piece belongs to is missing, be it unseen or merged.
    """
    pieces: Labels = label(prediction, connectivity=2)
    true_pieces: Labels = label(truth, connectivity=2)
    owners = _owners(pieces, true_pieces)
    false = [piece for piece, owner in owners.items() if owner == 0]
    breaks: list[Place] = []
    broken_off: list[int] = []
    missing: list[Place] = []
    for owner in range(1, int(true_pieces.max()) + 1):
        shared = [piece for piece, its_owner in owners.items() if its_owner == owner]
        if not shared:
            missing.append(_middle(true_pieces == owner))
        largest = max(shared, key=lambda piece: np.count_nonzero(pieces == piece), default=0)
        for piece in shared:
            if piece != largest:
                others = np.isin(pieces, [other for other in shared if other != piece])
                breaks.append(_shortest_gap(pieces == piece, others))
                broken_off.append(piece)
    return Marks(
        false_components=[_middle(pieces == piece) for piece in false],
        breaks=breaks,
        missing=missing,
        false_mask=np.isin(pieces, false),
        broken_off_mask=np.isin(pieces, broken_off),
    )


def _owners(pieces: Labels, true_pieces: Labels) -> dict[int, int]:
    """For every predicted piece the true piece under most of it, 0 if there is none."""
    owners = {}
    for piece in range(1, int(pieces.max()) + 1):
        under = np.bincount(true_pieces[pieces == piece])
        under[0] = 0
        owners[piece] = int(under.argmax())
    return owners


def _middle(mask: BoolMask) -> Place:
    """The pixel of the mask that is nearest to its centre of gravity."""
    places = np.argwhere(mask)
    nearest = np.square(places - places.mean(axis=0)).sum(axis=1).argmin()
    return float(places[nearest, 0]), float(places[nearest, 1])


def _shortest_gap(piece: BoolMask, others: BoolMask) -> Place:
    """The middle of the shortest way from `piece` to `others`."""
    distance, nearest = distance_transform_edt(~others, return_indices=True)
    row, column = np.unravel_index(np.where(piece, distance, np.inf).argmin(), piece.shape)
    end_row, end_column = nearest[:, row, column]  # nearest: [2, height, width]
    return (float(row) + float(end_row)) / 2, (float(column) + float(end_column)) / 2
