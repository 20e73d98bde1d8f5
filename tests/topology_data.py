"""Toy data sets and runs for the topology benchmark, and the options to train in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.common import pictures
from benchmarks.demo import vessels
from benchmarks.topology.__main__ import main
from benchmarks.topology.collapse import count_pixels
from benchmarks.topology.configuration import DEFAULTS, RunKey, write_json
from benchmarks.topology.records import CONFIGURATION, TRUTH, gather, write_label_maps, write_run
from benchmarks.topology.scoring import Score

SIDE = 32
# One crop of a network with next to no channels; precisions are not measured.
TOY_TRAINING = ["--crop-size", str(SIDE), "--batch-size", "1", "--features", "2x2x2x2x2x2"]
TOY_TRAINING += ["--precision", "float32"]
TOY = [*TOY_TRAINING, "--one-process"]  # starting another takes seconds


def write_images(root: Path) -> Path:
    """Two images with masks in every split, as {train,val,test}/{images,masks}/ID.* ."""
    for number, split in enumerate(("train", "val", "test")):
        for index in range(2):
            image, truth = vessels.vessels((number, index), SIDE)
            save(root / split / "images" / f"{index}.jpg", np.stack([image * 255] * 3, axis=-1))
            save(root / split / "masks" / f"{index}.png", truth)
    return root


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
