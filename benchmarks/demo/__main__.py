"""The demo: train a small U-Net three times and compare the topology of its segmentations.

    python -m benchmarks.demo                  synthetic vessel trees, drawn by a program
    python -m benchmarks.demo --data FOLDER    {train,val,test}/{images,masks}/ID.*

From the same seed (same first weights, same crops) it trains with MONAI's Dice + cross-entropy,
with the same loss on SCNP logits, and with the joint loss, then prints a table and writes two
CSV files and a picture. Validation and test use the plain network output, without SCNP.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common.images import LAYOUT, DataError
from benchmarks.demo.comparison import compare
from benchmarks.demo.data import read_folder
from benchmarks.demo.network import SIDE_MULTIPLE
from benchmarks.demo.picture import draw_picture
from benchmarks.demo.report import summarise, table, verdict, write_scores, write_summaries
from benchmarks.demo.samples import Splits
from benchmarks.demo.training import Recipe, TrainingError
from benchmarks.demo.vessels import synthetic_splits

SYNTHETIC_NOTICE = (
    "No --data given: these images are SYNTHETIC vessel trees, drawn by a program. The figures "
    "say nothing about real images."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0, or 1 after one line on stderr that says what is wrong."""
    options = _parser().parse_args(arguments)
    start = time.perf_counter()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        splits = _splits(options.data, options.crop_size)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = Recipe(iterations=options.iterations, crop_size=options.crop_size)
    print(_headline(splits, recipe, options.kernel_size), flush=True)
    try:
        runs = compare(splits, recipe, options.seeds, options.kernel_size)
    except TrainingError as error:
        print(f"error: {error}; nothing was written", file=sys.stderr)
        return 1
    summaries = summarise(runs)
    files = [options.out / name for name in ("summary.csv", "scores.csv", "picture.png")]
    write_summaries(files[0], summaries)
    write_scores(files[1], runs)
    draw_picture(files[2], splits, runs)
    print(f"\n{splits.title}: means over {len(splits.test)} test images, without SCNP")
    print(table(summaries))
    print(verdict(summaries))
    print(f"\nWrote {', '.join(map(str, files))} after {time.perf_counter() - start:.0f} s.")
    return 0


def _splits(data: Path | None, crop_size: int) -> Splits:
    if data is not None:
        return read_folder(data, crop_size)
    print(SYNTHETIC_NOTICE, flush=True)
    return synthetic_splits()


def _headline(splits: Splits, recipe: Recipe, kernel_size: int) -> str:
    return (
        f"{splits.title}: {len(splits.train)} images to train on, {len(splits.val)} to validate, "
        f"{len(splits.test)} to test\n"
        f"{recipe.iterations} iterations of {recipe.batch_size} crops of {recipe.crop_size} x "
        f"{recipe.crop_size}, SCNP kernel size {kernel_size}, {torch.get_num_threads()} threads"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo",
        description="Train a small U-Net with and without SCNP and compare the results.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help=f"folder with {LAYOUT} (default: synthetic)")
    add("--seeds", type=_positive, default=1, metavar="N", help="seeds 0 to N-1 (default 1)")
    add("--kernel-size", type=_odd, default=3, metavar="W", help="side of the SCNP window (3)")
    add("--iterations", type=_positive, default=300, metavar="N", help="per training (300)")
    add("--crop-size", type=_crop_size, default=128, metavar="N", help="training crops (128)")
    add("--out", type=Path, default=Path("demo_output"), metavar="DIR", help="(demo_output)")
    add("--threads", type=_positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
    return parser


def _positive(text: str) -> int:
    return _whole_number(text, "a whole number of at least 1", lowest=1)


def _odd(text: str) -> int:
    number = _whole_number(text, "an odd whole number", lowest=1)
    if number % 2 == 0:
        raise argparse.ArgumentTypeError(f"got {text}, takes an odd whole number")
    return number


def _crop_size(text: str) -> int:
    takes = f"a multiple of {SIDE_MULTIPLE} of at least {2 * SIDE_MULTIPLE}"
    number = _whole_number(text, takes, lowest=2 * SIDE_MULTIPLE)
    if number % SIDE_MULTIPLE:
        raise argparse.ArgumentTypeError(f"got {text}, takes {takes}")
    return number


def _whole_number(text: str, takes: str, lowest: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise argparse.ArgumentTypeError(f"got {text!r}, takes {takes}")
    return number


if __name__ == "__main__":
    sys.exit(main())
