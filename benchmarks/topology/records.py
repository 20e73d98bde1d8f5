"""The output folder of a data set: what a finished run leaves, and reading it again.

OUT/DATA_SET/configuration.json    recipe, versions, data, cores
             pilot.json            how the number of iterations came about: pilot.py
             truth.npz             truths for validation and of the scored splits, "split/image"
             scores.csv            one row per image and finished run   (gathered from runs/)
             curves.csv            one row per validation and finished run     (likewise)
             runs/ID/checkpoint.pt   while unfinished
                     predictions.npz, scores.csv, curve.csv; probabilities.npz with two classes
                     run.json        written last: its presence makes the run finished
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.common.errors import UsageError
from benchmarks.common.files import read_csv, write_csv, written_whole
from benchmarks.common.volumes.volume import Spacing, known_spacing
from benchmarks.topology.collapse import Pixels, collapse, count_pixels
from benchmarks.topology.configuration import (
    Configuration,
    RunKey,
    read_configuration,
    write_json,
)
from benchmarks.topology.datasets import Labels
from benchmarks.topology.losses import MODES
from benchmarks.topology.scoring import Score

CONFIGURATION, TRUTH, RUN, PILOT = "configuration.json", "truth.npz", "run.json", "pilot.json"
PREDICTIONS, SCORES, CURVE, CURVES = "predictions.npz", "scores.csv", "curve.csv", "curves.csv"
PROBABILITIES = "probabilities.npz"
VALIDATION = "val"  # the split that is predicted, and not scored
Row = dict[str, str]


@contextmanager
def blaming(file: Path, remedy: str) -> Iterator[None]:
    """Raises UsageError that names the file, and what to do, where reading it in here fails."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # many kinds, by format and by where the damage is
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(f"{file}: cannot be read ({reason}); {remedy}") from error


def train_anew(folder: Path) -> str:
    """What to do where a file of a run is damaged."""
    return f"delete {folder} and give the same `run` again, which does that training anew"


@dataclass(frozen=True)
class RunRecord:
    """One finished run."""

    key: RunKey
    folder: Path
    seconds: float  # of its iterations
    peak_mebibytes: float | None  # of its process; None where the system does not tell
    stored_pixels: Pixels | None = None  # None in runs of earlier versions

    def collapse(self, split: str) -> str:
        """What it found in the split where its training failed, otherwise "". Raises UsageError."""
        with blaming(self.folder / RUN, train_anew(self.folder)):
            return collapse(*self.pixels[split])

    @cached_property
    def pixels(self) -> Pixels:
        """What it found and what is true, counted anew where run.json lacks it."""
        if self.stored_pixels is not None:
            return self.stored_pixels
        out = self.folder.parents[1]
        truth, classes = truths(out), configuration_of(out).classes
        with blaming(self.folder / PREDICTIONS, train_anew(self.folder)):
            return count_pixels(self.predictions(truth), truth, classes)

    def predictions(self, truth: Mapping[str, Labels]) -> dict[str, Labels]:
        """Label maps of every image of ``truth``, keys "split/image". Raises UsageError."""
        return self._maps(PREDICTIONS, truth)

    def probabilities(self, truth: Mapping[str, Labels]) -> dict[str, Labels]:
        """Of the foreground, as postprocessing.stored makes them; keys and errors as above."""
        return self._maps(PROBABILITIES, truth)

    def _maps(self, name: str, truth: Mapping[str, Labels]) -> dict[str, Labels]:
        file = self.folder / name
        with blaming(file, train_anew(self.folder)):
            maps = _read_label_maps(file)
            for key, label_map in truth.items():
                if maps[key].shape != label_map.shape:
                    raise ValueError(
                        f"{key} has the shape {maps[key].shape}, its truth {label_map.shape}"
                    )
        return maps

    def scores(self) -> list[Row]:
        """One row per scored image: split, image, then the measures. Raises UsageError."""
        return self._numbers(SCORES, ("split", "image"))

    def curve(self) -> list[Row]:
        """One row per validation. Raises UsageError."""
        return self._numbers(CURVE, ())

    def _numbers(self, name: str, words: tuple[str, ...]) -> list[Row]:
        """A table's rows, whose columns hold numbers except those of ``words``."""
        file = self.folder / name
        with blaming(file, train_anew(self.folder)):
            rows = read_csv(file)
            if not rows:
                raise ValueError("holds no row")
            for row in rows:
                row_words = [row[word] for word in words]
                numbers = [float(value) for name, value in row.items() if name not in words]
                if None in row_words or not numbers:
                    raise ValueError("a row is incomplete")
        return rows


def is_finished(folder: Path, key: RunKey) -> bool:
    """Whether a data set's output folder holds this run, with its scores."""
    return (folder / "runs" / key.identifier / RUN).exists()


def finished_runs(folder: Path) -> list[RunRecord]:
    """Every finished run of a data set's output folder, by loss, mode, window and seed.

    Raises UsageError where one is damaged.
    """
    records = []
    for file in (folder / "runs").glob(f"*/{RUN}"):
        with blaming(file, train_anew(file.parent)):
            stored = json.loads(file.read_text(encoding="utf-8"))
            key = RunKey(
                stored["loss"], stored["mode"], tuple(stored["kernel_size"]), stored["seed"]
            )
            if key.identifier != file.parent.name:
                raise ValueError(f"it says that it is {key.identifier}")
            seconds, peak = float(stored["seconds"]), stored["peak_mebibytes"]
            peak = None if peak is None else float(peak)
        records.append(RunRecord(key, file.parent, seconds, peak, stored.get("pixels")))
    return sorted(
        records,
        key=lambda r: (r.key.loss, MODES.index(r.key.mode), r.key.kernel_size, r.key.seed),
    )


def data_set_folders(out: Path) -> list[Path]:
    """The data sets' output folders in ``out`` (or ``out`` itself) that have a finished run.

    Raises UsageError where there is none.
    """
    if (out / CONFIGURATION).is_file():
        return [out]
    folders = sorted(file.parent for file in out.glob(f"*/{CONFIGURATION}"))
    started = [folder for folder in folders if any(folder.glob(f"runs/*/{RUN}"))]
    if not started:
        raise UsageError(f"{out}: holds no finished run; start with `run --out {out}`")
    return started


def configuration_of(folder: Path) -> Configuration:
    """How the runs of a data set's output folder were trained and scored."""
    return read_configuration(folder / CONFIGURATION)


def spacing_of(folder: Path) -> Spacing | None:
    """Of the voxels of a data set; None for images, and where nothing tells it."""
    file = folder / CONFIGURATION
    with blaming(file, "delete it and give the same `run` again, which writes it anew"):
        spacing = json.loads(file.read_text(encoding="utf-8")).get("spacing")
        return None if spacing is None else known_spacing(spacing)


def truths(folder: Path, split: str = "") -> dict[str, Labels]:
    """The truth of every scored image, or of one split's, VALIDATION's too; "split/image", sorted.

    Raises UsageError.
    """
    file = folder / TRUTH
    wanted = {split} if split else set(configuration_of(folder).tests)
    with blaming(file, "delete it and give the same `run` again, which writes it anew"):
        maps = _read_label_maps(file)
        if not wanted <= {key.split("/")[0] for key in maps}:
            raise ValueError(f"holds {', '.join(maps) or 'nothing'}")
    return {key: maps[key] for key in sorted(maps) if key.split("/")[0] in wanted}


def write_label_maps(file: Path, maps: Mapping[str, Labels]) -> None:
    """Label maps, compressed; classes are few, so they shrink a hundredfold."""
    with written_whole(file) as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]  # keys hold a slash


def _read_label_maps(file: Path) -> dict[str, Labels]:
    """What write_label_maps wrote."""
    with np.load(file) as archive:
        return {name: archive[name] for name in archive.files}


def write_run(
    folder: Path,
    key: RunKey,
    facts: Mapping[str, object],
    predictions: Mapping[str, Labels],
    scores: Mapping[str, list[Score]],
    curve: list[dict[str, float]],
    probabilities: Mapping[str, Labels] | None = None,
) -> None:
    """What a finished run leaves behind; run.json comes last and makes it finished.

    ``scores`` are rows by split; ``facts`` are seconds, peak_mebibytes and pixels.
    """
    write_label_maps(folder / PREDICTIONS, predictions)
    if probabilities:
        write_label_maps(folder / PROBABILITIES, probabilities)
    rows = [{"split": split, **score} for split, of_split in scores.items() for score in of_split]
    write_csv(folder / SCORES, rows)
    write_csv(folder / CURVE, curve)
    write_json(folder / RUN, {**asdict(key), **facts})


def gather(folder: Path) -> None:
    """Make scores.csv and curves.csv anew from the finished runs, each whole."""
    records = finished_runs(folder)
    for name, rows_of in ((SCORES, RunRecord.scores), (CURVES, RunRecord.curve)):
        rows = [
            {"loss": key.loss, "scnp": key.mode, "kernel_size": key.window, "seed": key.seed, **row}
            for key, record in ((record.key, record) for record in records)
            for row in rows_of(record)
        ]
        if rows:
            write_csv(folder / name, rows)
