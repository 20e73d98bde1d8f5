"""Read the demo's dataset from a folder, and refuse a faulty one before any training starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.common.images import (
    LAYOUT,
    DataError,
    check_foreground,
    check_same_size,
    identifier,
    image_pairs,
    read_colour,
    read_mask,
)
from benchmarks.common.volumes import is_volume
from benchmarks.demo.samples import Sample, Splits

SPLITS = ("train", "val", "test")


def read_folder(path: Path, smallest_side: int, say: Callable[[str], object] = print) -> Splits:
    """The dataset in `path`, laid out as {train,val,test}/{images,masks}/ID.* .

    Masks count every nonzero pixel as foreground; `say` gets a sentence per split: how much of it.
    Every image must be at least `smallest_side` pixels high and wide, because training crops of
    that side out of it. Raises DataError.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; --data takes a folder with {LAYOUT}")
    train, val, test = (_read_split(path / split, smallest_side) for split in SPLITS)
    for split, samples in zip(SPLITS, (train, val, test), strict=True):
        truths = (sample.truth for sample in samples)
        say(check_foreground(path / split / "masks", truths, needed=split == "train"))
    return Splits(path.resolve().name, train, val, test)


def _read_split(folder: Path, smallest_side: int) -> list[Sample]:
    return [_read_sample(*pair, smallest_side) for pair in image_pairs(folder)]


def _read_sample(image_file: Path, mask_file: Path, smallest_side: int) -> Sample:
    if is_volume(image_file):
        raise DataError(
            f"{image_file}: is a volume; the demo takes images, "
            "`python -m benchmarks.topology run` takes both"
        )
    image = read_colour(image_file)
    truth = read_mask(mask_file)
    check_same_size(image_file, image, mask_file, truth)
    height, width = image.shape[:2]
    if min(height, width) < smallest_side:
        raise DataError(
            f"{image_file}: is {width} x {height} pixels (width x height), smaller than the "
            f"training crops of {smallest_side} x {smallest_side}; see --crop-size"
        )
    return Sample(identifier(image_file), image, truth)
