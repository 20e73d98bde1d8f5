"""`run`: train and score a grid of losses, with SCNP and without, and keep every result."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.common.errors import UsageError
from benchmarks.common.tables import by
from benchmarks.kernels.machine import machine_facts
from benchmarks.topology import losses
from benchmarks.topology.configuration import (
    SIDE_MULTIPLE,
    Configuration,
    RunKey,
    grid,
    write_json,
)
from benchmarks.topology.datasets import (
    DataSet,
    common_spacing,
    fingerprint,
    foreground_shares,
    read_data_set,
)
from benchmarks.topology.options import one_of
from benchmarks.topology.precision import check_precision
from benchmarks.topology.records import (
    CONFIGURATION,
    TRUTH,
    VALIDATION,
    configuration_of,
    finished_runs,
    is_finished,
    write_label_maps,
)
from benchmarks.topology.results import read_results
from benchmarks.topology.runner import Job, run_all
from benchmarks.topology.settings import (
    add_training_arguments,
    check_crop,
    configuration_from,
    device_from,
    with_fitting_crop,
    with_iterations,
    with_precision,
)
from benchmarks.topology.windows import window_per_axis

BASELINE = "ce_dice"  # whose plain training says how long to train, if it is among the losses
# What results may depend on, besides torch and this package.
LIBRARIES = ("monai", "numpy", "scipy", "scikit-image", "cripser", "pillow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="images or volumes, see the README")
    add(
        "--losses",
        type=one_of(losses.LOSSES, "all"),
        default=("ce_dice",),
        help=f"comma-separated: {', '.join(losses.LOSSES)}; or all (default ce_dice)",
    )
    add(
        "--scnp",
        type=one_of(losses.MODES),
        default=losses.MODES,
        help=f"comma-separated: {', '.join(losses.MODES)} (all)",
    )
    add_training_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Train what is not finished of the losses and modes that are asked for."""
    keys = grid(options.losses, options.scnp, options.kernel_size, range(options.seeds))
    warning = _warning(train(options, lambda _: keys))
    if warning:
        print(warning, file=sys.stderr)


def _warning(folder: Path) -> str:
    """Which trainings collapsed, as a sentence."""
    return read_results(folder).warning if finished_runs(folder) else ""


def train(options: argparse.Namespace, keys_of: Callable[[DataSet], list[RunKey]]) -> Path:
    """Check everything that can be checked, then train what is not finished.

    Of --data, the runs that ``keys_of`` names; returns the data set's output folder.
    """
    configuration = configuration_from(options)
    given = options.crop is not None or options.configuration is not None
    data = read_data_set(
        options.data,
        configuration.tests,
        configuration.crop if given else (SIDE_MULTIPLE,) * configuration.spatial_dimensions,
        configuration.classes,
        configuration.mask_key,
    )
    for sentence in foreground_shares(options.data, data):
        print(sentence, file=sys.stderr)
    if not given:
        configuration = with_fitting_crop(configuration, data)
    check_crop(configuration)
    _say_of_volumes(configuration, data, options.kernel_size)
    device = device_from(options.device)
    dimensions = data.spatial_dimensions
    for window in options.kernel_size:
        if len(window) not in (1, dimensions):
            raise UsageError(
                f"--kernel-size: got {by(window)}, takes one odd number, or "
                f"{dimensions} of them for this data"
            )
    folder: Path = options.out / data.name
    workers = options.workers or (1 if device.type == "cuda" else os.cpu_count() or 1)
    keys = keys_of(data)
    asked = [key.loss for key in keys]
    baseline = BASELINE if BASELINE in asked else asked[0]
    configuration, source = with_precision(configuration, options, data, device, folder, workers)
    if source and not all(is_finished(folder, key) for key in keys):
        check_precision(configuration, device, workers, source)
    configuration = with_iterations(configuration, options, data, baseline, device, folder, workers)
    describe(folder, configuration, data, options.device)
    job = Job(
        partial(
            read_data_set,
            options.data.resolve(),
            configuration.tests,
            configuration.crop,
            configuration.classes,
            configuration.mask_key,
        ),
        configuration,
        folder,
        options.device,
    )
    failures = run_all(job, keys, workers, options.one_process)
    if failures:
        warning = _warning(folder)
        failed = f"{len(failures)} of {len(keys)} runs failed: " + "; ".join(failures)
        raise UsageError(f"{failed}. {warning}" if warning else failed)
    print(f"{folder}: {len(keys)} runs finished", file=sys.stderr)
    return folder


def _say_of_volumes(
    configuration: Configuration, data: DataSet, windows: Sequence[tuple[int, ...]]
) -> None:
    """What a user should know of thin stacks and of thick slices."""
    short = [
        sample.truth.shape
        for sample in data.train
        if any(own < side for own, side in zip(sample.truth.shape, configuration.crop, strict=True))
    ]
    if short:
        print(
            f"{data.name}: {len(short)} of {len(data.train)} training volumes are smaller than the "
            f"crops of {by(configuration.crop)} (as {by(short[0])}): their border slices are "
            "repeated",
            file=sys.stderr,
        )
    spacing = common_spacing(data.train)
    for (side,) in (window for window in windows if spacing is not None and len(window) == 1):
        adapted = window_per_axis(side, spacing or ())
        if len(set(adapted)) > 1:
            print(
                f"{data.name}: voxels of {by(spacing or (), ' x ')}: "
                f"--kernel-size {side} reaches further across slices than within them; "
                f"{by(adapted)} does not",
                file=sys.stderr,
            )


def describe(folder: Path, configuration: Configuration, data: DataSet, device: str) -> None:
    """Write configuration and truths beside the results; refuse to mix two in one folder."""
    file = folder / CONFIGURATION
    mark = fingerprint(data)
    if file.exists():
        differences = configuration_of(folder).differences(configuration)
        if differences:
            raise UsageError(
                f"{file}: holds runs with other settings ({'; '.join(differences)}); "
                "give the same settings or another --out"
            )
        if json.loads(file.read_text(encoding="utf-8")).get("data", mark) != mark:
            raise UsageError(
                f"{file}: holds runs on other images or masks of the name {data.name}; give "
                "another --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    if not (file.exists() and (folder / TRUTH).exists()):
        kept = {VALIDATION: data.val, **data.tests}
        maps = {f"{split}/{s.name}": s.truth for split, samples in kept.items() for s in samples}
        write_label_maps(folder / TRUTH, maps)
    if file.exists():
        return
    write_json(
        file,
        {
            "configuration": configuration.to_json(),
            "images": {split: len(samples) for split, samples in data.splits.items()},
            "data": mark,
            "spacing": common_spacing(data.train),
            "device": device,
            "libraries": {name: version(name) for name in LIBRARIES},
            "machine": machine_facts(threads=1),
        },
    )
