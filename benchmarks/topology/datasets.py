"""Read a data set, 2D folders or 3D volumes, and refuse a faulty one before training starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.common.images import (
    LAYOUT,
    DataError,
    check_foreground,
    check_same_size,
    identifier,
    image_pairs,
    read_bands,
    read_truth,
)
from benchmarks.common.mask_numbers import (
    Numbers,
    check_numbers,
    how_numbers_are_read,
)
from benchmarks.common.masks import truth_of
from benchmarks.common.tables import by
from benchmarks.common.volumes import (
    Spacing,
    Volume,
    is_volume,
    read_volume,
    read_volume_labels,
)
from benchmarks.topology.configuration import SIDE_MULTIPLE
from benchmarks.topology.npz_files import (
    IDS_KEY,
    StackedImage,
    holds_npz,
    is_stack,
    npz_files,
    read_npz,
    read_stack,
    read_stacked_image,
)

SAME_SPACING = 0.01  # relative, between an image and its mask
MOST_PADDING = SIDE_MULTIPLE // 2  # slices of a crop that a volume may lack
X = " x "  # between sides, in sentences

Labels = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One image with its ground truth."""

    name: str
    image: Planes  # [channels, *spatial], every channel with mean 0 and deviation 1
    truth: Labels  # [*spatial], 0 where background
    spacing: Spacing | None = None  # of voxels; None where unknown, and for images
    unit: str | None = None  # of the spacing
    numbers: Numbers = ()  # the nonzero ones of its mask's file, if they are few


@dataclass(frozen=True)
class DataSet:
    """The images to train on, to watch the training with, and to report, by folder."""

    name: str
    classes: int
    train: list[Sample]
    val: list[Sample]
    tests: Mapping[str, list[Sample]]

    @property
    def spatial_dimensions(self) -> int:
        """2 for images, 3 for volumes."""
        return self.train[0].truth.ndim

    @property
    def splits(self) -> dict[str, list[Sample]]:
        """Every split by its folder's name."""
        return {"train": self.train, "val": self.val, **self.tests}

    @property
    def channels(self) -> int:
        """Of the images: 3 for colour."""
        return int(self.train[0].image.shape[0])


def fingerprint(data: DataSet) -> str:
    """A number that changes with any name, image or mask of the data set."""
    digest = hashlib.sha256()
    for split, samples in data.splits.items():
        for sample in samples:
            digest.update(f"{split}/{sample.name} {sample.image.shape}".encode())
            digest.update(sample.truth.tobytes())
            digest.update(sample.image.tobytes())
    return digest.hexdigest()


def is_volumetric(path: Path, split: str = "train") -> bool:
    """Whether a data set holds 3D volumes rather than images.

    By its first training image; where there is no training split, by that of ``split``. Raises
    DataError where there is none.
    """
    file = next((npz_files(path, s)[0] for s in ("train", split) if holds_npz(path, s)), None)
    if file is not None:
        return not is_stack(file)
    first = "train" if (path / "train" / "images").is_dir() else split
    return is_volume(image_pairs(path / first)[0][0])


def common_spacing(samples: Sequence[Sample]) -> Spacing | None:
    """The median spacing of the volumes; None where that of one is unknown."""
    return median_spacing([sample.spacing for sample in samples])


def median_spacing(spacings: Sequence[Spacing | None]) -> Spacing | None:
    """Of every axis by itself; None where one is unknown."""
    if not spacings or None in spacings:
        return None
    depth, height, width = np.median(np.array(spacings), axis=0).tolist()
    return depth, height, width


def read_data_set(
    path: Path,
    tests: Sequence[str],
    crop: Sequence[int],
    classes: int = 2,
    mask_key: str | None = None,
) -> DataSet:
    """The data set in ``path``: ``{train,val,test}/{images,masks}/ID.*``, images or volumes; or
    volumes ``{train,val,test}.npz`` (or ``{train,val,test}/ID.npz``) with ``image`` and a mask.

    Args:
        path: The folder.
        tests: The splits to report, each as its own group of rows, such as ``["test"]``.
        crop: Sides of the training crops, one per spatial axis: no training image may be smaller,
            except volumes by the few slices that are padded, and along an axis where the crop
            has the network's least side by any.
        classes: 2 counts every nonzero pixel of a mask as foreground; more read it as labels.
        mask_key: Name of the mask's array in the npz files; by default the first there is of
            ``mask``, ``interior`` and ``label``.

    Raises:
        DataError: With the file at fault and what is wrong with it.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; --data takes a folder with {LAYOUT}")
    anything = [1] * len(crop)
    data_set = DataSet(
        path.resolve().name,
        classes,
        train=read_split(path, "train", crop, classes, mask_key),
        val=read_split(path, "val", anything, classes, mask_key),
        tests={test: read_split(path, test, anything, classes, mask_key) for test in tests},
    )
    foreground_shares(path, data_set)
    _check_channels(path, data_set)
    return data_set


def foreground_shares(path: Path, data_set: DataSet) -> list[str]:
    """A sentence for every split: how much of its masks is foreground. Raises DataError.

    And one about their numbers, if they may mean something else than what they are taken for.
    """
    return shares_of_splits(path, data_set.splits, ["train"], data_set.classes)


def shares_of_splits(
    path: Path, splits: Mapping[str, Sequence[Sample]], needed: Sequence[str], classes: int
) -> list[str]:
    """As foreground_shares; of the splits ``needed``, none may be without foreground."""
    numbers = {
        f"{path / split}: the mask of {sample.name}": sample.numbers
        for split, samples in splits.items()
        for sample in samples
    }
    check_numbers(numbers, classes)
    said = [
        check_foreground(
            path / split, (sample.truth for sample in samples), split in needed, classes
        )
        for split, samples in splits.items()
    ]
    read = how_numbers_are_read(list(numbers.values()), classes)
    return [*said, f"{path}: {read}"] if read else said


def read_split(
    path: Path,
    split: str,
    smallest: Sequence[int] | None = None,
    classes: int = 2,
    mask_key: str | None = None,
) -> list[Sample]:
    """The images of one split, each at least as large as ``smallest``. Raises DataError."""
    if is_volumetric(path, split):
        return _read_volumes(path, split, smallest or (1, 1, 1), classes, mask_key)
    least = smallest or (1, 1)
    if holds_npz(path, split):
        return _read_stacks(npz_files(path, split), least, classes, mask_key)
    return [_read_image(*pair, least, classes) for pair in image_pairs(path / split)]


def read_pixels_to_show(path: Path, split: str, name: str) -> Planes:
    """One image of a split as it is stored, [channels, *spatial]: for pictures, not for training.

    Raises DataError where there is no such image.
    """
    if holds_npz(path, "train") or holds_npz(path, split):
        for file in npz_files(path, split):
            if is_stack(file):
                stacked = read_stacked_image(file, name)
                if stacked is not None:
                    return stacked.astype(np.float32)
            elif file.stem == name:
                with np.load(file) as archive:
                    return _planes(archive["image"])
    else:
        for file, _ in image_pairs(path / split):
            if identifier(file) == name:
                if is_volumetric(path, split):
                    return _planes(read_volume(file).array)
                return np.moveaxis(read_bands(file), -1, 0)
    raise DataError(f"{path}: has no image {name} in {split}")


def _check_channels(path: Path, data_set: DataSet) -> None:
    for split, samples in data_set.splits.items():
        for sample in samples:
            if sample.image.shape[0] != data_set.channels:
                raise DataError(
                    f"{path / split}: {sample.name} has {sample.image.shape[0]} channels, "
                    f"but the first training image has {data_set.channels}"
                )


def _read_image(image_file: Path, mask_file: Path, smallest: Sequence[int], classes: int) -> Sample:
    image = read_bands(image_file)
    truth = read_truth(mask_file, classes)
    check_same_size(image_file, image, mask_file, truth.labels)
    _check_side(image_file, truth.labels.shape, smallest)
    planes = standardise(np.moveaxis(image, -1, 0))
    return Sample(identifier(image_file), planes, truth.labels, numbers=truth.numbers)


def _read_stacks(
    files: Sequence[Path], smallest: Sequence[int], classes: int, mask_key: str | None
) -> list[Sample]:
    samples = []
    file_of: dict[str, Path] = {}
    for file in files:
        for one in read_stack(file, mask_key):
            if one.name in file_of:
                raise DataError(
                    f"{file}: has an image called {one.name}, as {file_of[one.name]} has; takes "
                    f"names that differ, in an array {IDS_KEY}"
                )
            file_of[one.name] = file
            samples.append(_stack_sample(file, one, smallest, classes))
    return samples


def _stack_sample(file: Path, one: StackedImage, smallest: Sequence[int], classes: int) -> Sample:
    planes = one.image.astype(np.float32)
    if not np.isfinite(planes).all():
        raise DataError(f"{file}: images holds values that are not finite")
    _check_side(file, one.mask.shape, smallest)
    truth = truth_of(file, one.mask, classes)
    return Sample(one.name, standardise(planes), truth.labels, numbers=truth.numbers)


def _read_volumes(
    path: Path, split: str, smallest: Sequence[int], classes: int, mask_key: str | None
) -> list[Sample]:
    if holds_npz(path, "train") or holds_npz(path, split):
        return [
            _volume_sample(file, file, *read_npz(file, mask_key), smallest, classes)
            for file in npz_files(path, split)
        ]
    return [
        _volume_sample(*pair, *_read_pair(*pair), smallest, classes)
        for pair in image_pairs(path / split)
    ]


def _read_pair(image_file: Path, mask_file: Path) -> tuple[Volume, Volume]:
    image, mask = read_volume(image_file), read_volume_labels(mask_file)
    sides = image.array.shape[-3:]
    if mask.array.shape != sides:
        raise DataError(
            f"{mask_file}: has the size {by(mask.array.shape, X)} (depth x height x width), but "
            f"its image {image_file} is {by(sides, X)}"
        )
    if (
        image.spacing is not None
        and mask.spacing is not None
        and image.unit == mask.unit
        and not np.allclose(image.spacing, mask.spacing, rtol=SAME_SPACING)
    ):
        raise DataError(
            f"{mask_file}: has the spacing {by(mask.spacing, X)}, but its image {image_file} "
            f"{by(image.spacing, X)} (depth x height x width)"
        )
    return image, mask


def _planes(image: npt.NDArray[np.generic]) -> Planes:
    with np.errstate(over="ignore"):  # what 32 bits cannot hold is found as not finite
        planes = image.astype(np.float32)
    return planes[None] if planes.ndim == 3 else planes


def _volume_sample(
    image_file: Path,
    mask_file: Path,
    image: Volume,
    mask: Volume,
    smallest: Sequence[int],
    classes: int,
) -> Sample:
    planes = _planes(image.array)
    if not np.isfinite(planes).all():
        raise DataError(f"{image_file}: image holds values that are not finite")
    _check_side(image_file, mask.array.shape, smallest)
    truth = truth_of(mask_file, mask.array, classes)
    known = image if image.spacing is not None else mask
    return Sample(
        identifier(image_file),
        standardise(planes),
        truth.labels,
        known.spacing,
        known.unit,
        truth.numbers,
    )


def _check_side(file: Path, shape: tuple[int, ...], smallest: Sequence[int]) -> None:
    padded = len(smallest) == 3
    needed = [_least_side(side) if padded else side for side in smallest]
    if len(shape) != len(needed) or any(
        side < least for side, least in zip(shape, needed, strict=True)
    ):
        fitting = fitting_crop(shape, smallest)
        hint = (
            f"--crop-size {by(fitting)} fits"
            if padded or min(shape) >= SIDE_MULTIPLE
            else f"takes images of {SIDE_MULTIPLE} pixels and more each way"
        )
        raise DataError(
            f"{file}: has the size {by(shape, X)}, smaller than the training crops of "
            f"{by(smallest, X)}; {hint}"
        )


def fitting_crop(shape: Sequence[int], crop: Sequence[int]) -> tuple[int, ...]:
    """The crop, or the largest below it that an image of this shape can fill.

    A volume may lack half of SIDE_MULTIPLE slices, which are padded, so that 31 slices need not
    be cut to 16.

    Example:
        >>> fitting_crop((90, 300), (128, 128)), fitting_crop((31, 50, 19), (32, 32, 32))
        ((80, 128), (32, 32, 16))
    """
    lacking = MOST_PADDING if len(crop) == 3 else 0
    return tuple(
        min(side, max(SIDE_MULTIPLE, (own + lacking) // SIDE_MULTIPLE * SIDE_MULTIPLE))
        for own, side in zip(shape, crop, strict=False)
    )


def _least_side(crop: int) -> int:
    """Of volumes that a crop's side is drawn from; those of the network's least side always are."""
    return 1 if crop <= SIDE_MULTIPLE else crop - MOST_PADDING


def standardise(image: Planes) -> Planes:
    """Every channel ([channels, *spatial]) with mean 0 and deviation 1; a constant one is 0."""
    standardised = np.empty(image.shape, np.float32)
    for channel, plane in zip(standardised, image, strict=True):
        # Sums of 64 bits: those of 32 lose digits on large images, and overflow on large numbers.
        largest = float(np.abs(plane).max())
        unit = largest if largest > 1e18 else 1.0  # whose squares would overflow
        np.divide(plane, unit, out=channel)
        channel -= channel.mean(dtype=np.float64)
        channel /= max(float(channel.std(dtype=np.float64)), 1e-6)
    return standardised
