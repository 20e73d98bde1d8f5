"""The options of every command that trains, and the settings that follow from them and the data."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from math import prod
from pathlib import Path

import torch

from benchmarks.common.errors import DataError, UsageError
from benchmarks.common.tables import by
from benchmarks.topology import pilot
from benchmarks.topology.configuration import (
    DEFAULTS,
    LEVELS,
    PRECISIONS,
    SIDE_MULTIPLE,
    Configuration,
    read_configuration,
)
from benchmarks.topology.datasets import DataSet, fingerprint, fitting_crop, is_volumetric
from benchmarks.topology.options import (
    check_classes,
    kernel_size,
    one_of,
    positive,
    share,
    sides,
    splits,
)
from benchmarks.topology.precision import faster_precision
from benchmarks.topology.records import CONFIGURATION, PILOT, configuration_of
from benchmarks.topology.runner import only_one
from benchmarks.topology.scoring import MEASURES

CONNECTIVITIES = {2: (4, 8), 3: (6, 18, 26)}
# Options that override a setting of the configuration, by the setting's name.
SETTINGS = [field.name for field in dataclasses.fields(Configuration)]
SETTINGS.remove("spatial_dimensions")  # which the data tell


def add_training_arguments(parser: argparse.ArgumentParser, several_windows: bool = True) -> None:
    """The options of every command that trains; its help names what it takes."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("topology_output"), metavar="DIR")
    add(
        "--kernel-size",
        type=kernel_size,
        default=((3,),),
        metavar="W",
        help=f"window's side{', comma-separated for several' if several_windows else ''}; 1x3x3 "
        "for a side per axis (3)",
    )
    add("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N-1 (3)")
    add("--workers", type=positive, metavar="N", help="runs at a time (cores; with a GPU 1)")
    add("--one-process", action="store_true", help="to try it out: no processes of their own")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (cpu)")
    add("--configuration", type=Path, metavar="FILE", help="start from this configuration.json")
    add(
        "--iterations",
        type=positive,
        metavar="N",
        help="per training (as many as the plain baseline needs until its validation Dice has "
        "stopped rising)",
    )
    add(
        "--most-iterations",
        type=positive,
        default=DEFAULTS[2].iterations,
        metavar="N",
        help=f"that the baseline may choose ({DEFAULTS[2].iterations})",
    )
    add("--crop-size", dest="crop", type=sides, metavar="N", help="training crops, 128 or 32x64x64")
    add("--batch-size", type=positive, metavar="N")
    add(
        "--foreground-share",
        type=share,
        metavar="X",
        help="of every batch's crops, at least so many are drawn around foreground (1/3)",
    )
    add("--precision", choices=PRECISIONS, help="of training (default: the faster one here)")
    add("--optimizer", choices=("sgd", "adam"))
    add("--learning-rate", type=float, metavar="X")
    add("--features", type=sides, metavar="NxN..", help="channels of the network's levels")
    add("--validations", type=positive, metavar="N", help="measures and checkpoints per training")
    add("--classes", type=positive, metavar="N", help="2: nonzero is foreground; more: labels")
    add("--mask-key", metavar="NAME", help="name of the masks in npz files")
    add("--tests", type=splits, metavar="SPLITS", help="splits to score, comma-separated (test)")
    add("--connectivity", type=positive, help="neighbours of a pixel: 4, 8; in 3D 6, 18, 26")
    add("--measures", type=one_of(MEASURES), help=f"comma-separated: {', '.join(MEASURES)}")
    add(
        "--tile",
        type=int,
        metavar="N",
        help="volumes are scored on cubes of about this side; 0: whole",
    )


def configuration_from(options: argparse.Namespace) -> Configuration:
    """The defaults for the data's dimension, or a file's, with the options given put in."""
    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; --data takes a folder")
    base = (
        read_configuration(options.configuration)
        if options.configuration
        else DEFAULTS[3 if is_volumetric(options.data) else 2]
    )
    if not options.configuration:
        base = dataclasses.replace(base, iterations=options.most_iterations)
    given = {
        name: getattr(options, name) for name in SETTINGS if getattr(options, name) is not None
    }
    configuration = dataclasses.replace(base, **given)
    unknown = [name for name in configuration.measures if name not in MEASURES]
    if unknown:  # by --measures they would not have come this far
        raise UsageError(
            f"{options.configuration}: measures: got {json.dumps(list(configuration.measures))}, "
            f"takes {', '.join(MEASURES)}"
        )
    dimensions = configuration.spatial_dimensions
    crop = configuration.crop
    if len(crop) == 1:
        crop = crop * dimensions
    if len(crop) != dimensions or any(side % SIDE_MULTIPLE for side in crop):
        raise UsageError(
            f"--crop-size: got {by(crop)}, takes one side or {dimensions}, each a "
            f"multiple of {SIDE_MULTIPLE}"
        )
    if len(configuration.features) != LEVELS + 1:
        raise UsageError(
            f"--features: got {len(configuration.features)} numbers, takes {LEVELS + 1}: the "
            f"channels of {LEVELS} levels and of the last layer"
        )
    if configuration.connectivity not in CONNECTIVITIES[dimensions]:
        raise UsageError(
            f"--connectivity: got {configuration.connectivity}, takes "
            f"{' or '.join(map(str, CONNECTIVITIES[dimensions]))} for {dimensions}D data"
        )
    check_classes(configuration.classes)
    if configuration.tile < 0:
        raise UsageError(f"--tile: got {configuration.tile}, takes 0 (whole volumes) or more")
    return dataclasses.replace(configuration, crop=crop)


def with_fitting_crop(configuration: Configuration, data: DataSet) -> Configuration:
    """With crops that fit into every training image: the default's, or as large as can be."""
    smallest = [min(sides) for sides in zip(*(s.truth.shape for s in data.train), strict=True)]
    crop = fitting_crop(smallest, configuration.crop)
    if crop != configuration.crop:
        print(
            f"{data.name}: training crops of {by(crop)} instead of {by(configuration.crop)}, "
            f"since not all training images are that large (the smallest sides: {by(smallest)})",
            file=sys.stderr,
        )
    return dataclasses.replace(configuration, crop=crop)


def with_precision(
    configuration: Configuration,
    options: argparse.Namespace,
    data: DataSet,
    device: torch.device,
    folder: Path,
    threads: int,
) -> tuple[Configuration, str]:
    """With the precision that no option gives: of the folder's runs, or else the faster one.

    And what says so: an option, a file, or "" where it was measured.
    """
    if options.precision:
        return configuration, "--precision"
    if options.configuration:
        return configuration, str(options.configuration)
    started = [folder / name for name in (CONFIGURATION, PILOT) if (folder / name).exists()]
    if started:
        precision, source = read_configuration(started[0]).precision, str(started[0])
    else:
        precision, reason = faster_precision(data, configuration, device, threads)
        source = ""
        print(f"{data.name}: {reason}", file=sys.stderr)
    return dataclasses.replace(configuration, precision=precision), source


def with_iterations(
    configuration: Configuration,
    options: argparse.Namespace,
    data: DataSet,
    baseline: str,
    device: torch.device,
    folder: Path,
    threads: int,
) -> Configuration:
    """With the iterations that no option gives.

    They are those of the folder's runs, or else as many as the plain ``baseline`` needs.
    """
    if options.configuration or options.iterations:
        return configuration
    if (folder / CONFIGURATION).exists():
        iterations = configuration_of(folder).iterations
    else:
        with only_one(folder / ".lock"):
            iterations = pilot.iterations_of_the_pilot(
                folder, baseline, data, configuration, fingerprint(data), device, threads
            )
            pilot.draw(folder, data.name, folder)
        print(f"{data.name}: {pilot.sentence(folder)}", file=sys.stderr)
    return dataclasses.replace(configuration, iterations=iterations)


def check_crop(configuration: Configuration) -> None:
    """Batch normalisation takes more than one value per channel at the lowest level."""
    values = configuration.batch_size * prod(side // SIDE_MULTIPLE for side in configuration.crop)
    if values < 2:
        raise UsageError(
            f"--crop-size: got {by(configuration.crop)} with --batch-size "
            f"{configuration.batch_size}, takes a larger crop or batch: the network's lowest "
            "level would be a single pixel"
        )


def device_from(name: str) -> torch.device:
    """The device of --device, tried. Raises UsageError where it does not work."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device: got {name}, which does not work here ({reason})") from error
    return device
