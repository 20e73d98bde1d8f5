"""How long to train: a plain training whose validation Dice says when it has stopped rising.

OUT/DATA_SET/pilot.json   settings, data, and in the end the iterations that every method trains
             pilot.pt     while unfinished
             pilot.csv, pilot.png   the curve
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.common.errors import UsageError
from benchmarks.common.files import read_csv, write_csv
from benchmarks.common.pictures import panels
from benchmarks.topology.collapse import Pixels, collapse, count_pixels
from benchmarks.topology.configuration import Configuration, read_configuration, write_json
from benchmarks.topology.datasets import DataSet, Labels
from benchmarks.topology.losses import OFF, build_loss
from benchmarks.topology.records import PILOT, blaming
from benchmarks.topology.results import LOSS_TITLES
from benchmarks.topology.training import (
    CurvePoint,
    Training,
    TrainingError,
    on_threads,
    segment,
)

CHECK_EVERY = 100  # iterations
# Validation Dice has stopped rising when the best of PATIENCE checks is at most RISE above the best
# before them.
RISE = 0.005
PATIENCE = 5
SEED = 0
START_ANEW = "delete it and give the same `run` again, which does the pilot anew"


def has_stopped_rising(dice: Sequence[float], rise: float = RISE, patience: int = PATIENCE) -> bool:
    """Whether the best of the last ``patience`` checks is at most ``rise`` above the best before.

    A check of a network that finds nothing, or everything, has no Dice (nan): it is not counted, so
    that a training which has not yet begun to learn goes on.

    Example:
        >>> has_stopped_rising([0.5, 0.7, 0.71, 0.70], rise=0.02, patience=2)
        True
        >>> has_stopped_rising([0.5, 0.7, 0.73, 0.70], rise=0.02, patience=2)
        False
    """
    learnt = [value for value in dice if value == value]  # nan is not itself
    if len(learnt) <= patience:
        return False
    return max(learnt[-patience:]) <= max(learnt[:-patience]) + rise


def iterations_of_the_pilot(
    folder: Path,
    loss: str,
    data: DataSet,
    configuration: Configuration,
    mark: str,
    device: torch.device,
    threads: int,
) -> int:
    """Train the plain ``loss`` until its validation Dice has stopped rising; its iterations.

    At a constant learning rate, with the seed 0 and no test image; ``configuration.iterations`` is
    the most. Goes on where a killed pilot stopped, and trains nothing where one has finished. The
    ``mark`` is the fingerprint of the data. Raises UsageError where the folder holds a pilot with
    other settings, and where the training fails.
    """
    file = folder / PILOT
    settings: dict[str, Any] = {
        "configuration": configuration.to_json(),
        "data": mark,
        "loss": loss,
    }
    if file.exists():
        stored = read_pilot(file)
        differing = _differences(file, stored, configuration, settings)
        if differing:
            raise UsageError(
                f"{file}: holds a pilot training with other settings ({differing}); give the same "
                "settings, --iterations, or another --out"
            )
        if stored["iterations"] is not None:
            return int(stored["iterations"])
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {**settings, "iterations": None})
    try:
        with on_threads(threads):
            curve = _train(folder, loss, data, configuration, device)
    except TrainingError as error:
        raise UsageError(f"pilot: {error}") from error
    iterations = int(curve[-1]["iteration"])
    write_csv(file.with_suffix(".csv"), curve)
    write_json(file, {**settings, "iterations": iterations})  # makes it finished
    file.with_suffix(".pt").unlink(missing_ok=True)
    return iterations


def read_pilot(file: Path) -> dict[str, Any]:
    """What pilot.json says. Raises UsageError where it is damaged."""
    with blaming(file, START_ANEW):
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _ = stored["configuration"], stored["data"], stored["loss"], stored["iterations"]
    return stored


def _differences(
    file: Path,
    stored: dict[str, Any],
    configuration: Configuration,
    settings: dict[str, Any],
) -> str:
    found = read_configuration(file).differences(configuration)
    if stored["loss"] != settings["loss"]:
        found.append(f"loss {stored['loss']!r} and {settings['loss']!r}")
    if stored["data"] != settings["data"]:
        found.append("other images or masks")
    return "; ".join(found)


def _train(
    folder: Path, loss: str, data: DataSet, configuration: Configuration, device: torch.device
) -> list[CurvePoint]:
    """The curve of the pilot, whose last point is where it stopped."""
    checkpoint = (folder / PILOT).with_suffix(".pt")
    plain = build_loss(loss, data.classes, data.spatial_dimensions, OFF)
    training = Training(plain, data, configuration, SEED, device, decays=False)
    progress = training.progress
    if checkpoint.exists():
        progress.load(checkpoint, device)
    bar = tqdm(
        initial=progress.iteration,
        total=configuration.iterations,
        unit="it",
        mininterval=0.5 if sys.stderr.isatty() else 60,
        desc=f"{data.name}: how long to train, at most",
    )
    with bar:
        while progress.iteration < configuration.iterations and not _is_done(progress.curve):
            training_loss = training.iterate(0.0)
            bar.update()
            last = progress.iteration == configuration.iterations
            if progress.iteration % CHECK_EVERY == 0 or last:
                training.record(training_loss, _check(training, data, configuration), checkpoint)
                bar.set_postfix_str(f"validation Dice {progress.curve[-1]['dice']:.3f}")
    return progress.curve


def _is_done(curve: Sequence[CurvePoint]) -> bool:
    return has_stopped_rising([point["dice"] for point in curve])


def _check(training: Training, data: DataSet, configuration: Configuration) -> CurvePoint:
    """Dice of every class over all pixels of the validation images, and their mean."""
    watched = training.validation_images
    predictions: dict[str, Labels] = {}
    truth: dict[str, Labels] = {}
    for number, sample in enumerate(watched):
        key = f"val/{number}"
        truth[key] = sample.truth
        predictions[key] = segment(
            training.progress.network, sample.image, configuration, training.device
        )
    return dice_of_classes(predictions, truth, data.classes)


def dice_of_classes(
    predictions: dict[str, Labels], truth: dict[str, Labels], classes: int
) -> CurvePoint:
    """``dice_0`` to ``dice_C-1`` over all pixels, and ``dice``, their mean over classes that occur.

    The mean is nan where the prediction has collapsed. It holds the background, since where that is
    thin (membranes between cells) the foreground's Dice says little. Keys "split/image", one split.
    """
    pixels: Pixels = count_pixels(predictions, truth, classes)
    ((found, true),) = pixels.values()
    both = {
        label: sum(
            int(((predictions[key] == label) & (truth[key] == label)).sum()) for key in truth
        )
        for label in range(classes)
    }
    dice = {
        label: 2 * both[label] / (found[label] + true[label])
        for label in range(classes)
        if found[label] + true[label]
    }
    learnt = collapse(found, true) not in ("nothing", "everything")
    return {
        "dice": mean(dice.values()) if learnt else float("nan"),
        **{f"dice_{label}": dice.get(label, float("nan")) for label in range(classes)},
    }


def sentence(folder: Path) -> str:
    """How the number of iterations came about; or "" where no pilot chose it. Raises UsageError."""
    file = folder / PILOT
    if not file.exists():
        return ""
    stored = read_pilot(file)
    if stored["iterations"] is None:
        return ""
    curve = read_curve(file)
    reached = curve[-1]
    classes = {_title(name): of for name, of in reached.items() if name.startswith("dice_")}
    dice = ", ".join(f"{title} {of:.3f}" for title, of in classes.items())
    stopped = _is_done(curve)
    why = (
        f"then its validation Dice had risen by at most {RISE} for {PATIENCE} checks"
        if stopped
        else "its validation Dice was still rising at the most iterations that are allowed "
        "(--most-iterations)"
    )
    title = LOSS_TITLES[str(stored["loss"])]
    return (
        f"Plain {title} trained for {stored['iterations']} iterations; {why} "
        f"(Dice over all validation pixels: {dice}). Every method trains as long."
    )


def _title(column: str) -> str:
    return "background" if column == "dice_0" else f"class {column.removeprefix('dice_')}"


def read_curve(file: Path) -> list[CurvePoint]:
    """The points of pilot.csv beside pilot.json. Raises UsageError."""
    table = file.with_suffix(".csv")
    with blaming(table, f"{START_ANEW}: {file} too"):
        curve = [{name: float(value) for name, value in row.items()} for row in read_csv(table)]
        if not curve or not {"iteration", "dice"} <= set(curve[-1]):
            raise ValueError("holds no curve")
    return curve


def draw(folder: Path, name: str, to: Path) -> None:
    """pilot.png: Dice of every class over the iterations. Raises UsageError."""
    curve = read_curve(folder / PILOT)
    iterations = [point["iteration"] for point in curve]
    with panels(to / "pilot.png", 6, 3.6, 1) as (figure, (axes,)):
        for column in (column for column in curve[-1] if column.startswith("dice_")):
            of_class = [point[column] for point in curve]
            axes.plot(iterations, of_class, marker=".", label=_title(column))
        mean_dice = [point["dice"] for point in curve]
        axes.plot(iterations, mean_dice, color="black", label="mean, which decides")
        if _is_done(curve):
            axes.axvline(
                iterations[-PATIENCE - 1], color="#888888", ls=":", label="rose until here"
            )
        axes.set_xlabel("iteration")
        axes.set_ylabel("Dice over all validation pixels")
        axes.grid(alpha=0.3)
        axes.legend()
        figure.suptitle(f"{name}: the plain training that says how long to train")
