"""Every run's scores on the scored splits, once: as it predicts, and post-processed as chosen.

They are kept in the run's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.topology.configuration import Configuration, write_json
from benchmarks.topology.postprocessing import Postprocessing
from benchmarks.topology.records import RunRecord, blaming
from benchmarks.topology.results import TITLES, Method, Results
from benchmarks.topology.scoring import Score
from benchmarks.topology.search import Choice, Map, Task, measure
from benchmarks.topology.statistics import Array

AS_PREDICTED, POST_PROCESSED = "as predicted", "post-processed"
OVERLAP = ("dice", "cldice")  # which no connectivity changes
TOPOLOGY = ("betti0_error", "betti1_error", "betti_matching_error")
NEIGHBOURS = {2: (8, 4), 3: (6, 26)}  # both ways to connect, for which Betti matching is known
# Of blobs, such as nuclei; faces alone connect there, so that cells that meet at a corner are two.
SHAPE = "roundness_error"

Scores = dict[str, Array]  # by column: [seeds, images]
Versions = dict[str, Scores]  # AS_PREDICTED, POST_PROCESSED


@dataclass(frozen=True)
class Column:
    """A measure, by one connectivity if it depends on it."""

    measure: str
    neighbours: int | None = None

    @property
    def name(self) -> str:
        """In files, such as betti0_error_8."""
        return self.measure if self.neighbours is None else f"{self.measure}_{self.neighbours}"

    @property
    def title(self) -> str:
        """In tables."""
        title = TITLES[self.measure]
        return title if self.neighbours is None else f"{title} ({self.neighbours})"


def connectivities(configuration: Configuration) -> tuple[int, ...]:
    """Both; first the one that searches and verdicts count by, which is the data set's own.

    18 neighbours are not among those for which Betti matching is known; 6 stand first then.
    """
    own = configuration.connectivity
    return tuple(sorted(NEIGHBOURS[configuration.spatial_dimensions], key=lambda n: n != own))


def columns(results: Results) -> list[Column]:
    """What the tables show; roundness where structures are blobs."""
    faces = min(connectivities(results.configuration))
    return [
        *map(Column, OVERLAP),
        *(Column(m, n) for n in connectivities(results.configuration) for m in TOPOLOGY),
        *([] if results.has_tubes else [Column(SHAPE, faces)]),
    ]


def final_scores(
    results: Results,
    split: str,
    choices: Mapping[Method, Choice],
    seeds: Mapping[Method, list[int]],
    run_tasks: Map,
) -> dict[Method, Versions]:
    """Of every method that has a choice, over its seeds; [seeds, images], images by their names."""
    wanted = {
        method: [_FinalRun(results, method, seed, split, choice.postprocessing) for seed in own]
        for method, choice in choices.items()
        if (own := seeds[method])
    }
    runs = [run for of_method in wanted.values() for run in of_method]
    missing = [run for run in runs if not run.scores]
    tasks = [task for run in missing for task in run.tasks()]
    done: list[list[list[Score]]] = []
    title = f"{results.name}: scores on {split}"
    with tqdm(total=len(missing), desc=title, unit="run") as bar:
        for scores in run_tasks(measure, tasks):
            done.append(scores)
            run = missing[(len(done) - 1) // len(NEIGHBOURS[2])]
            if len(done) % len(NEIGHBOURS[2]) == 0:
                run.take(done[-2:])
                bar.update()
    shown = columns(results)
    return {
        method: {
            version: {
                column.name: np.array(
                    [[float(row[column.name]) for row in run.scores[version]] for run in of_method]
                )
                for column in shown
            }
            for version in (AS_PREDICTED, POST_PROCESSED)
        }
        for method, of_method in wanted.items()
    }


class _FinalRun:
    """One run's scores on one split, read if they were made before with the same choice."""

    def __init__(
        self, results: Results, method: Method, seed: int, split: str, chosen: Postprocessing
    ) -> None:
        self.record: RunRecord = results.runs[method][seed]
        self.configuration, self.split, self.chosen = results.configuration, split, chosen
        self.columns = columns(results)
        self.settings = {
            "postprocessing": asdict(chosen),
            "columns": [column.name for column in self.columns],
            "tile": self.configuration.tile,
        }
        self.scores: dict[str, list[Score]] = {}
        if self.file.exists():
            with blaming(self.file, "delete it and give the same command again"):
                stored = json.loads(self.file.read_text(encoding="utf-8"))
                if stored["settings"] == self.settings:
                    self.scores = stored["scores"]

    @property
    def file(self) -> Path:
        return self.record.folder / f"verdict-{self.split}.json"

    def tasks(self) -> list[Task]:
        """One per connectivity; the first measures what no connectivity changes, too."""
        first, _ = connectivities(self.configuration)
        treatments = (Postprocessing(), self.chosen)
        return [
            Task(
                self.record,
                self.split,
                treatments,
                first,
                replace(
                    self.configuration,
                    connectivity=neighbours,
                    measures=tuple(
                        column.measure
                        for column in self.columns
                        if (column.neighbours or first) == neighbours
                    ),
                ),
            )
            for neighbours in connectivities(self.configuration)
        ]

    def take(self, scores: list[list[list[Score]]]) -> None:
        """The results of the tasks, written once all are there."""
        for index, version in enumerate((AS_PREDICTED, POST_PROCESSED)):
            rows: list[Score] = []
            for of_first, of_second in zip(*(of_task[index] for of_task in scores), strict=True):
                by_neighbours = dict(
                    zip(connectivities(self.configuration), (of_first, of_second), strict=True)
                )
                row: Score = {"image": of_first["image"]}
                for column in self.columns:
                    source = by_neighbours.get(column.neighbours or 0, of_first)
                    row[column.name] = source[column.measure]
                rows.append(row)
            self.scores[version] = rows
        write_json(self.file, {"settings": self.settings, "scores": self.scores})
