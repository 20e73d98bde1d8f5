"""The demo: train a small U-Net three times and compare the topology of its segmentations.

    python -m benchmarks.demo                  synthetic vessel trees, drawn by a program
    python -m benchmarks.demo --data FOLDER    {train,val,test}/{images,masks}/ID.*

A preset of the topology benchmark: from the same seed (same first weights, same crops) it trains
with MONAI's Dice + cross-entropy, with the same loss on SCNP logits, and with the joint loss, then
prints a table and writes two CSV files and a picture. Validation and test use the plain network
output, without SCNP.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from matplotlib.axes import Axes

from benchmarks.common.errors import DataError, UsageError
from benchmarks.common.images import LAYOUT, image_pairs, read_colour
from benchmarks.demo.report import summarise, table, verdict, write_summaries
from benchmarks.demo.vessels import synthetic_data_set
from benchmarks.topology import qualitative
from benchmarks.topology.configuration import DEFAULTS, SIDE_MULTIPLE, Configuration, grid
from benchmarks.topology.convergence import draw_curves
from benchmarks.topology.datasets import (
    DataSet,
    Planes,
    foreground_shares,
    is_volumetric,
    read_data_set,
    read_pixels_to_show,
)
from benchmarks.topology.losses import JOINT, OFF, ON
from benchmarks.topology.options import positive
from benchmarks.topology.records import SCORES
from benchmarks.topology.results import Method, Results, read_results
from benchmarks.topology.run_command import describe
from benchmarks.topology.runner import Job, run_all

# A little larger than the benchmark's own default, since it trains three times and not sixty.
PRESET = dataclasses.replace(
    DEFAULTS[2], batch_size=4, features=(12, 24, 48, 96, 96, 12), validations=10
)
LOSS = "ce_dice"
SYNTHETIC_NOTICE = (
    "No --data given: these images are SYNTHETIC vessel trees, drawn by a program. The figures "
    "say nothing about real images."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0, or 1 after one line on stderr that says what is wrong."""
    options = _parser().parse_args(arguments)
    start = time.perf_counter()
    side = options.crop_size
    configuration = dataclasses.replace(PRESET, iterations=options.iterations, crop=(side, side))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        data = _data_set(options.data, configuration)
        threads = options.threads or torch.get_num_threads()
        print(_headline(data, configuration, options.kernel_size, threads), flush=True)
        with tempfile.TemporaryDirectory() as runs:
            results = _trained(data, configuration, options, threads, Path(runs) / data.name)
            summaries, warning = summarise(results), results.warning
            files = [options.out / name for name in ("summary.csv", SCORES, "picture.png")]
            write_summaries(files[0], summaries)
            shutil.copyfile(results.folder / SCORES, files[1])
            _draw(results, data, options.data, files[2])
    except (DataError, UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if warning:
        print(f"\n{warning}")
    print(f"\n{data.name}: means over {len(data.tests['test'])} test images, without SCNP")
    print(table(summaries))
    print(verdict(summaries))
    print(
        f"\nWrote {', '.join(map(str, files))} after {time.perf_counter() - start:.0f} s.",
        flush=True,
    )
    if warning:
        print(warning, file=sys.stderr)
    return 0


def _data_set(folder: Path | None, configuration: Configuration) -> DataSet:
    if folder is None:
        print(SYNTHETIC_NOTICE, flush=True)
        return synthetic_data_set()
    if folder.is_dir() and is_volumetric(folder):
        raise DataError(
            f"{folder}: holds volumes; the demo takes images, "
            "`python -m benchmarks.topology run` takes both"
        )
    data = read_data_set(folder, configuration.tests, configuration.crop)
    if data.channels != 3:
        read_colour(image_pairs(folder / "train")[0][0])  # says what the picture can show
    print(*foreground_shares(folder, data), sep="\n", flush=True)
    return data


def _headline(data: DataSet, configuration: Configuration, window: int, threads: int) -> str:
    side = configuration.crop[0]
    return (
        f"{data.name}: {len(data.train)} images to train on, {len(data.val)} to validate, "
        f"{len(data.tests['test'])} to test\n"
        f"{configuration.iterations} iterations of {configuration.batch_size} crops of {side} x "
        f"{side}, SCNP kernel size {window}, {threads} threads"
    )


def _trained(
    data: DataSet,
    configuration: Configuration,
    options: argparse.Namespace,
    threads: int,
    folder: Path,
) -> Results:
    """Every method with every seed, in this process. Raises UsageError where a training fails."""
    describe(folder, configuration, data, "cpu")
    job = Job(lambda: data, configuration, folder, threads=threads)
    keys = grid((LOSS,), (OFF, ON, JOINT), ((options.kernel_size,),), range(options.seeds))
    failures = run_all(job, keys, workers=1, one_process=True)
    if failures:
        raise UsageError("; ".join([*failures, "nothing was written"]))
    return read_results(folder)


def _draw(results: Results, data: DataSet, folder: Path | None, file: Path) -> None:
    """The picture of the most telling test image of the first seed."""

    def standardised(split: str, name: str) -> Planes:
        return next(sample.image for sample in data.splits[split] if sample.name == name)

    methods = results.methods()
    qualitative.draw(
        results,
        methods,
        seed=0,
        image=None,
        pixels_of=standardised if folder is None else partial(read_pixels_to_show, folder),
        file=file,
        beside=lambda axes: _draw_curves(axes, results, methods),
    )


def _draw_curves(axes: Axes, results: Results, methods: list[Method]) -> None:
    draw_curves(axes, results, methods, "betti0_error")
    axes.legend()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo",
        description="Train a small U-Net with and without SCNP and compare the results.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help=f"folder with {LAYOUT} (default: synthetic)")
    add("--seeds", type=positive, default=1, metavar="N", help="seeds 0 to N-1 (default 1)")
    add("--kernel-size", type=_odd, default=3, metavar="W", help="side of the SCNP window (3)")
    add("--iterations", type=positive, default=300, metavar="N", help="per training (300)")
    add("--crop-size", type=_crop_size, default=128, metavar="N", help="training crops (128)")
    add("--out", type=Path, default=Path("demo_output"), metavar="DIR", help="(demo_output)")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
    return parser


def _odd(text: str) -> int:
    number = positive(text)
    if number % 2 == 0:
        raise argparse.ArgumentTypeError(f"got {text}, takes an odd whole number")
    return number


def _crop_size(text: str) -> int:
    number = positive(text)
    if number % SIDE_MULTIPLE or number < 2 * SIDE_MULTIPLE:
        raise argparse.ArgumentTypeError(
            f"got {text}, takes a multiple of {SIDE_MULTIPLE} of at least {2 * SIDE_MULTIPLE}"
        )
    return number


if __name__ == "__main__":
    sys.exit(main())
