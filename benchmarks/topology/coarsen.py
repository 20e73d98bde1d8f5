"""`coarsen`: write a data set at a lower resolution, where its structures are thinner."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from skimage.measure import block_reduce

from benchmarks.common.errors import DataError, UsageError
from benchmarks.common.files import new_folder, write_text
from benchmarks.topology.configuration import DEFAULTS
from benchmarks.topology.datasets import Sample, read_split
from benchmarks.topology.measures import component_count
from benchmarks.topology.npz_files import SPACING_KEY
from benchmarks.topology.options import check_classes, positive, words

README = """# {name}, coarser

The images of the data set `{name}`, each block of {block} pixels one pixel: the mean of its values
(every image was first brought to a mean of 0 and a deviation of 1), and the label that most of its
pixels have; of equally many the foreground. What does not fill a block at the far borders is left
out. Written by `python -m benchmarks.topology coarsen`.

In pixels, structures are about {factor} times thinner than in `{name}`. The labels change with
that: foreground as thin as a block can break or vanish, gaps can close, and in blocks of an even
side ties make it thicker. Look at both before comparing what a method makes of them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `coarsen`."""
    add = parser.add_argument
    add("data", type=Path, metavar="FROM", help="the data set's folder, as for `run`")
    add("folder", type=Path, metavar="TO", help="to write: {train,val,test}/ID.npz and a README")
    add("--factor", type=positive, default=2, metavar="N", help="pixels per new one, each way (2)")
    add("--tests", type=words, default=("test",), metavar="SPLITS", help="beside train, val (test)")
    add("--classes", type=positive, default=2, metavar="C", help="with background (2)")
    add("--mask-key", metavar="NAME", help="of the mask's array in the npz files")


def run(options: argparse.Namespace) -> None:
    """Write every split, or nothing; refuses a folder that holds something."""
    if options.factor < 2:
        raise UsageError(f"--factor: got {options.factor}, takes 2 or more")
    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; coarsen takes a data set's folder")
    check_classes(options.classes)
    names = dict.fromkeys(("train", "val", *options.tests))
    with new_folder(options.folder) as folder:
        for split in names:
            samples = read_split(
                options.data, split, classes=options.classes, mask_key=options.mask_key
            )
            _check_sides(options.data / split, samples, options.factor)
            (folder / split).mkdir()
            coarse = [coarser(sample, options.factor) for sample in samples]
            for number, sample in enumerate(coarse):
                _write(sample, folder / split, number)
            print(f"{split}: {_described(samples)} before, {_described(coarse)} after")
        write_text(
            folder / "README.md",
            README.format(
                name=options.data.resolve().name,
                block=" x ".join([str(options.factor)] * samples[0].truth.ndim),
                factor=options.factor,
            ),
        )
    print(f"Wrote {options.folder}")


def coarser(sample: Sample, factor: int) -> Sample:
    """The sample with one pixel for each block of ``factor`` pixels each way.

    Of the image the mean; of the label map the most frequent label, and of equally frequent ones
    the foreground's, the lowest first.
    """
    whole = tuple(slice(0, side - side % factor) for side in sample.truth.shape)
    block = (factor,) * sample.truth.ndim
    labels = [*range(1, int(sample.truth.max()) + 1), 0]  # of equal counts the first one wins
    truth = sample.truth[whole]
    counts = [block_reduce(truth == label, block, np.sum) for label in labels]
    return replace(
        sample,
        image=block_reduce(sample.image[(slice(None), *whole)], (1, *block), np.mean),
        truth=np.array(labels, np.uint8)[np.argmax(counts, axis=0)],
        spacing=None if sample.spacing is None else _times(sample.spacing, factor),
    )


def _described(samples: Sequence[Sample]) -> str:
    """How much foreground, and in how many pieces: what a block may have closed or broken."""
    masks = [sample.truth != 0 for sample in samples]
    connectivity = DEFAULTS[masks[0].ndim].connectivity
    share = np.mean([mask.mean() for mask in masks])
    pieces = np.mean([component_count(mask, connectivity) for mask in masks])
    return f"{100 * share:.1f} % foreground in {pieces:.1f} pieces"


def _times(spacing: tuple[float, float, float], factor: int) -> tuple[float, float, float]:
    depth, height, width = spacing
    return factor * depth, factor * height, factor * width


def _check_sides(where: Path, samples: Sequence[Sample], factor: int) -> None:
    for sample in samples:
        if min(sample.truth.shape) < factor:
            size = " x ".join(map(str, sample.truth.shape))
            raise UsageError(f"--factor: got {factor}, but {where}: {sample.name} is only {size}")


def _write(sample: Sample, folder: Path, number: int) -> None:
    """One npz file, as the benchmark reads them: a volume, or a stack of one image."""
    if sample.truth.ndim == 2:
        # The stack holds the image's name, which may be none of a file.
        np.savez(
            folder / f"{number:04d}.npz",
            images=np.moveaxis(sample.image, 0, -1)[None],
            masks=sample.truth[None],
            ids=[sample.name],
        )
        return
    known = {} if sample.spacing is None else {SPACING_KEY: np.array(sample.spacing)}
    arrays = {"image": sample.image, "mask": sample.truth, **known}
    np.savez(folder / f"{sample.name}.npz", **arrays)  # type: ignore[arg-type]
