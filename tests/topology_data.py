"""Toy data sets and runs for the topology benchmark, and the options to train in seconds."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.common import pictures
from benchmarks.demo import vessels
from benchmarks.topology import run_command
from benchmarks.topology.__main__ import main
from benchmarks.topology.collapse import count_pixels
from benchmarks.topology.configuration import DEFAULTS, RunKey, write_json
from benchmarks.topology.datasets import DataSet, Labels, read_data_set
from benchmarks.topology.losses import MODES
from benchmarks.topology.postprocessing import stored
from benchmarks.topology.records import (
    CONFIGURATION,
    TRUTH,
    configuration_of,
    gather,
    write_label_maps,
    write_run,
)
from benchmarks.topology.scoring import Score, score_image

SIDE = 32
# One crop of a network with next to no channels; precisions are not measured.
TOY_TRAINING = ["--crop-size", str(SIDE), "--batch-size", "1", "--features", "2x2x2x2x2x2"]
TOY_TRAINING += ["--precision", "float32"]
TOY = [*TOY_TRAINING, "--one-process"]  # starting another takes seconds
TOY_CONFIGURATION = replace(
    DEFAULTS[2], crop=(SIDE, SIDE), features=(2,) * 6, iterations=6, validations=3
)
# A verdict on `write_referees_case`, and how many methods it compares with the baseline.
REFEREES_OPTIONS = ("--one-process", "--losses", "cldice", "--seeds", 2)
REFEREES_COMPARED = len(MODES) - 1 + 2


def write_images(root: Path) -> Path:
    """Two images with masks in every split, as {train,val,test}/{images,masks}/ID.* ."""
    for number, split in enumerate(("train", "val", "test")):
        for index in range(2):
            image, truth = vessels.vessels((number, index), SIDE)
            save(root / split / "images" / f"{index}.jpg", np.stack([image * 255] * 3, axis=-1))
            save(root / split / "masks" / f"{index}.png", truth)
    return root


def toy_data(root: Path) -> DataSet:
    """The data set that write_images writes, in a folder of ``root``."""
    return read_data_set(write_images(root / "bars"), ["test"], TOY_CONFIGURATION.crop)


def write_volumes(root: Path) -> Path:
    """A volume of two plates in every split, as {train,val,test}.npz with image and interior."""
    root.mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        random = np.random.default_rng(number)
        interior = np.ones((SIDE, SIDE, SIDE + 8), np.uint8)
        interior[:, 12 + number] = 0
        image = (interior * 100 + random.integers(0, 50, interior.shape)).astype(np.uint8)
        np.savez(root / f"{split}.npz", image=image, interior=interior)
    return root


def save(file: Path, pixels: np.ndarray) -> None:
    """An image file with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def run_arguments(data: Path, out: Path, *more: object, workers: int | None = None) -> list[str]:
    """`run` on a toy data set, in this process unless ``workers`` are asked for."""
    toy = [*TOY_TRAINING, "--workers", workers] if workers else TOY
    return [str(a) for a in ("run", "--data", data, "--out", out, *toy, *more)]


def command(*arguments: object) -> None:
    """One command of the benchmark, which must succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def failing(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """One command that must fail with one line, after any progress; returns the line."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


def made_up_runs(
    out: Path,
    errors: dict[tuple[str, int], list[float]],
    collapsed: dict[tuple[str, int], int] | None = None,
    **settings: object,
) -> Path:
    """Runs that nobody trained: Betti-0 errors by (mode, seed), one per image; Dice is 0.5.

    They predict the truth, or one label everywhere where ``collapsed`` names it.
    """
    folder = out / "made_up"
    folder.mkdir(parents=True)
    configuration = {**DEFAULTS[2].to_json(), "measures": ["dice", "betti0_error"], **settings}
    write_json(folder / CONFIGURATION, {"configuration": configuration})
    images = len(next(iter(errors.values())))
    maps = {f"test/{index}": np.eye(8, dtype=np.uint8) for index in range(images)}
    write_label_maps(folder / TRUTH, maps)
    for (mode, seed), values in errors.items():
        key = RunKey("ce_dice", mode, (1,) if mode == "off" else (3,), seed)
        scores: list[Score] = [
            {"image": f"{index}", "dice": 0.5, "betti0_error": value}
            for index, value in enumerate(values)
        ]
        curve = [
            {"iteration": 10.0 * step, "dice": dice, "betti0_error": 9.0 - step}
            for step, dice in enumerate((0.2, 0.495, 0.5), start=1)
        ]
        run_folder = folder / "runs" / key.identifier
        run_folder.mkdir(parents=True)
        predictions = dict(maps)
        if collapsed and (mode, seed) in collapsed:
            predictions = {name: np.full_like(m, collapsed[mode, seed]) for name, m in maps.items()}
        pixels = count_pixels(predictions, maps, 2)
        facts = {"seconds": 1.0, "peak_mebibytes": 1.0, "pixels": pixels}
        write_run(run_folder, key, facts, predictions, {"test": scores}, curve)
    gather(folder)
    return folder


def predicted_runs(
    folder: Path,
    truth: dict[str, Labels],
    probabilities: dict[RunKey, dict[str, np.ndarray]],
    **settings: object,
) -> Path:
    """Runs that nobody trained, which predict these probabilities of the foreground.

    Keys of the maps are "split/image", with the split "val" among them.
    """
    values = {**DEFAULTS[next(iter(truth.values())).ndim].to_json(), **settings}
    write_json(folder / CONFIGURATION, {"configuration": values})
    configuration = configuration_of(folder)
    write_label_maps(folder / TRUTH, truth)
    tests = {key: of for key, of in truth.items() if not key.startswith("val/")}
    for key, maps in probabilities.items():
        predictions = {name: (of > 0.5).astype(np.uint8) for name, of in maps.items()}
        scores: dict[str, list[Score]] = {}
        for name, true in tests.items():
            split, image = name.split("/")
            rows = score_image(image, predictions[name], true, configuration)
            scores[split] = [*scores.get(split, []), *rows]
        pixels = count_pixels(predictions, tests, 2)
        facts = {"seconds": 1.0, "peak_mebibytes": 1.0, "pixels": pixels}
        curve = [
            {"iteration": 10.0 * step, "dice": 0.2 * step, "betti0_error": 9.0 - step}
            for step in (1, 2, 3)
        ]
        in_bytes = {name: stored(of.astype(np.float32)) for name, of in maps.items()}
        run = folder / "runs" / key.identifier
        write_run(run, key, facts, predictions, scores, curve, in_bytes)
    gather(folder)
    return folder


def write_referees_case(
    root: Path, images: int = 8, collapsed: dict[tuple[str, int], float] | None = None
) -> tuple[Path, Path]:
    """A data set "lines" in folder form, and the --out with its runs, which nobody trained.

    Two seeds of CE+Dice, and of clDice. The plain prediction breaks two lines of three beyond
    repair, and of odd images all; joint none, others one; all show a false piece. clDice breaks
    three, on SCNP logits two. A run in ``collapsed`` predicts that probability everywhere.
    """
    truth = np.zeros((64, 64), np.uint8)
    truth[8:13], truth[28:33], truth[48:53] = 1, 1, 1
    names = [*(f"test/{n}" for n in range(images)), *(f"val/{n}" for n in range(2))]
    random = np.random.default_rng(0)
    for name in (*names, "train/0", "train/1"):
        split, index = name.split("/")
        pixels = 60 + 120 * truth + random.integers(0, 40, truth.shape)
        save(root / "lines" / split / "images" / f"{index}.png", pixels)
        save(root / "lines" / split / "masks" / f"{index}.png", 255 * truth)

    def predicted(breaks: int, speck: bool, shift: int) -> np.ndarray:
        of = np.where(truth == 1, 0.9, 0.1)
        for row in (8, 28, 48)[:breaks]:
            of[row : row + 5, 20 + shift : 34 + shift] = 0.05  # too wide to be closed
        if speck:
            of[38:41, 5:8] = 0.95  # left out by its size
        return of

    kinds = {
        **{("ce_dice", mode): (1, True) for mode in MODES},
        ("ce_dice", "off"): (2, True),
        ("ce_dice", "joint"): (0, True),
        ("cldice", "off"): (3, False),
        ("cldice", "on"): (2, False),
    }
    runs = {}
    for (loss, mode), (breaks, speck) in kinds.items():
        for seed in (0, 1):
            everywhere = (collapsed or {}).get((mode, seed)) if loss == "ce_dice" else None
            runs[RunKey(loss, mode, (1,) if mode == "off" else (3,), seed)] = {
                name: predicted(breaks + (breaks == 2 and speck and index % 2), speck, index)
                if everywhere is None
                else np.full(truth.shape, everywhere)
                for index, name in enumerate(names)
            }
    settings = {"crop": [64, 64], "iterations": 300}
    predicted_runs(root / "out" / "lines", dict.fromkeys(names, truth), runs, **settings)
    return root / "lines", root / "out"


def rows_of(file: Path) -> list[dict[str, str]]:
    """A report's table."""
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def is_picture(file: Path) -> bool:
    """Whether a file holds a picture with something on it."""
    with Image.open(file) as picture:
        grey = np.asarray(picture.convert("L"))
    return min(grey.shape) > 200 and len(np.unique(grey)) > 20


def figures_of(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a report saves from now on."""
    drawn: list[Figure] = []

    class Remembered(Figure):
        def savefig(self, *arguments: Any, **options: Any) -> None:
            drawn.append(self)
            super().savefig(*arguments, **options)

    monkeypatch.setattr(pictures, "Figure", Remembered)
    return drawn


def without_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on `run` checks and prepares everything, and then trains nothing."""
    monkeypatch.setattr(run_command, "run_all", lambda *_: [])
