"""`coarsen`: write a data set at a lower resolution, where its structures are thinner."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from skimage.measure import block_reduce

from benchmarks.common.errors import DataError, UsageError
from benchmarks.common.files import new_folder, write_text
from benchmarks.common.tables import by
from benchmarks.common.volumes import Spacing
from benchmarks.topology.configuration import DEFAULTS
from benchmarks.topology.datasets import Sample, read_split, shares_of_splits
from benchmarks.topology.measures import component_count
from benchmarks.topology.npz_files import write_npz
from benchmarks.topology.options import check_classes, positive, sides, splits

README = """# {name}, coarser

The images of the data set `{name}`, each block of {block} pixels one pixel: the mean of its values
(every image was first brought to a mean of 0 and a deviation of 1), and the label that most of its
pixels have; of equally many the foreground. What does not fill a block at the far borders is left
out. Written by `python -m benchmarks.topology coarsen`.

In pixels, structures are thinner than in `{name}` by as much. The labels change with that:
foreground as thin as a block can break or vanish, gaps can close, and in blocks of an even side
ties make it thicker. Look at both before comparing what a method makes of them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `coarsen`."""
    add = parser.add_argument
    add("data", type=Path, metavar="FROM", help="the data set's folder, as for `run`")
    add("folder", type=Path, metavar="TO", help="to write: {train,val,test}/ID.npz and a README")
    add("--factor", type=sides, default=(2,), metavar="N", help="pixels per new one (2); 1x2x2")
    add(
        "--tests", type=splits, default=("test",), metavar="SPLITS", help="beside train, val (test)"
    )
    add("--classes", type=positive, default=2, metavar="C", help="with background (2)")
    add("--mask-key", metavar="NAME", help="of the mask's array in the npz files")


def run(options: argparse.Namespace) -> None:
    """Write every split, or nothing; refuses a folder that holds something."""
    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; coarsen takes a data set's folder")
    check_classes(options.classes)
    with new_folder(options.folder) as folder:
        parts = {
            split: read_split(
                options.data, split, classes=options.classes, mask_key=options.mask_key
            )
            for split in dict.fromkeys(("train", "val", *options.tests))
        }
        for sentence in shares_of_splits(options.data, parts, ["train"], options.classes):
            print(sentence, file=sys.stderr)
        block = _block(options, parts)
        for split, samples in parts.items():
            coarse = [coarser(sample, block) for sample in samples]
            with _blaming(options.factor, split):
                _write_split(folder, split, coarse, options.classes)
                shares_of_splits(folder, {split: coarse}, ["train"], options.classes)
            print(f"{split}: {_described(samples)} before, {_described(coarse)} after")
        name = options.data.resolve().name
        write_text(folder / "README.md", README.format(name=name, block=by(block, " x ")))
    print(f"Wrote {options.folder}")


def coarser(sample: Sample, block: Sequence[int]) -> Sample:
    """The sample with one pixel for each block of so many pixels (along each axis).

    Of the image the mean; of the label map the most frequent label, and of equally frequent ones
    the foreground's, the lowest first.
    """
    block = tuple(block)
    whole = tuple(
        slice(0, side - side % of) for side, of in zip(sample.truth.shape, block, strict=True)
    )
    labels = [*range(1, int(sample.truth.max()) + 1), 0]  # of equal counts the first one wins
    truth = sample.truth[whole]
    counts = [block_reduce(truth == label, block, np.sum) for label in labels]
    return replace(
        sample,
        image=block_reduce(sample.image[(slice(None), *whole)], (1, *block), np.mean),
        truth=np.array(labels, np.uint8)[np.argmax(counts, axis=0)],
        spacing=None if sample.spacing is None else _product(sample.spacing, block),
    )


def _described(samples: Sequence[Sample]) -> str:
    """How much foreground, and in how many pieces: what a block may have closed or broken."""
    masks = [sample.truth != 0 for sample in samples]
    connectivity = DEFAULTS[masks[0].ndim].connectivity
    share = np.mean([mask.mean() for mask in masks])
    pieces = np.mean([component_count(mask, connectivity) for mask in masks])
    return f"{100 * share:.1f} % foreground in {pieces:.1f} pieces"


def _product(spacing: Spacing, block: Sequence[int]) -> Spacing:
    depth, height, width = (length * of for length, of in zip(spacing, block, strict=True))
    return depth, height, width


def _block(options: argparse.Namespace, parts: Mapping[str, Sequence[Sample]]) -> tuple[int, ...]:
    """The sides of a block, one per axis. Raises UsageError where images are no such blocks."""
    factor: tuple[int, ...] = options.factor
    dimensions = parts["train"][0].truth.ndim
    if len(factor) not in (1, dimensions) or max(factor) < 2:
        raise UsageError(
            f"--factor: got {by(factor)}, takes a number of 2 or more, or {dimensions} joined by x "
            "for this data, of which one at least is above 1"
        )
    block = factor * dimensions if len(factor) == 1 else factor
    for split, samples in parts.items():
        for sample in samples:
            if any(side < of for side, of in zip(sample.truth.shape, block, strict=True)):
                raise UsageError(
                    f"--factor: got {by(factor)}, but {options.data / split}: {sample.name} is "
                    f"only {by(sample.truth.shape, ' x ')}"
                )
    return block


def _write_split(folder: Path, split: str, samples: Sequence[Sample], classes: int) -> None:
    """Write it, and read it again: masks of a few pixels may be taken for something else."""
    (folder / split).mkdir()
    for number, sample in enumerate(samples):
        image, name = sample.image, sample.name
        if sample.truth.ndim == 2:  # whose name may be none of a file
            image, name = np.moveaxis(image, 0, -1), f"{number:04d}"
        file = folder / split / f"{name}.npz"
        write_npz(file, sample.name, image, sample.truth, sample.spacing)
    again = {sample.name: sample for sample in read_split(folder, split, classes=classes)}
    for sample in samples:
        if not np.array_equal(again[sample.name].truth, sample.truth):
            raise DataError(f"that of {sample.name} reads as other labels")


@contextmanager
def _blaming(factor: Sequence[int], split: str) -> Iterator[None]:
    """What cannot be used of the coarser data set is the factor's fault, and not a file's."""
    try:
        yield
    except DataError as error:
        reason = str(error).partition(": ")[2] or str(error)  # without a file that goes again
        raise UsageError(
            f"--factor: got {by(factor)}, after which the masks of {split} cannot be used "
            f"({reason}); takes smaller blocks, such as 1x2 instead of 2; thin structures may "
            "allow none"
        ) from error
