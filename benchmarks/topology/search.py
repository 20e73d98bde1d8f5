"""The same search of post-processing for every method, on the validation images.

What a run's candidates measured is kept in its folder, so that a search goes on after a kill.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.topology.configuration import Configuration, write_json
from benchmarks.topology.datasets import Labels
from benchmarks.topology.postprocessing import Postprocessing, candidates
from benchmarks.topology.records import VALIDATION, RunRecord, blaming, truths
from benchmarks.topology.results import Method, Results
from benchmarks.topology.scoring import Score, score_image

ALLOWED_DICE_LOSS = 0.01  # one point, against the same method without post-processing
CRITERION = "betti_matching_error"
BOUND = "betti_error"  # cheap, and never above the criterion: differences stay unmatched
SEARCH = "search.json"
ROUNDING = 1e-9  # that sums in another order may differ by
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Choice:
    """What a method's search found; the means are over the validation images and sound seeds."""

    postprocessing: Postprocessing
    dice: float
    error: float  # Betti matching
    dice_before: float  # without post-processing
    error_before: float
    tried: int
    allowed: int  # by the rule about Dice
    measured: int  # whose Betti-matching error had to be computed


@dataclass(frozen=True)
class Task:
    """One run, what is done to its predictions of one split, and what is measured then."""

    record: RunRecord
    split: str
    treatments: tuple[Postprocessing, ...]
    neighbours: int  # of a pixel, for the treatments
    configuration: Configuration  # with the measures, and the neighbours that they count by


@contextmanager
def workers(count: int) -> Iterator[Map]:
    """A map over so many processes, in order; in this one where it is a single one."""
    if count == 1:
        yield map
        return
    with ProcessPoolExecutor(count, get_context("spawn"), _prepare, (os.getpid(),)) as pool:
        try:
            yield pool.map
        except BaseException:  # Ctrl-C: what is under way ends, and nothing else begins
            pool.shutdown(cancel_futures=True)
            raise


def _prepare(parent: int) -> None:
    """Runs once in every process: the parent tells when to stop, and none outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def measure(task: Task) -> list[list[Score]]:
    """The scores of every treatment: one row per image or cube. A worker's part."""
    out, configuration = task.record.folder.parents[1], task.configuration
    truth = truths(out, task.split)
    predictions = task.record.predictions(truth)
    cutting = any(treatment.cuts for treatment in task.treatments)
    probabilities: dict[str, Labels] = task.record.probabilities(truth) if cutting else {}
    scores: list[list[Score]] = [[] for _ in task.treatments]
    for key, true in truth.items():
        closed: dict[Postprocessing, Labels] = {}  # many treatments differ in their last step alone
        measured: dict[bytes, list[Score]] = {}  # and many come to the same
        for rows, treatment in zip(scores, task.treatments, strict=True):
            first = replace(treatment, smallest=0)
            if first not in closed:
                closed[first] = first.apply(
                    predictions[key], probabilities.get(key), task.neighbours
                )
            last = Postprocessing(smallest=treatment.smallest)
            treated = last.apply(closed[first], None, task.neighbours)
            same = treated.tobytes()
            if same not in measured:
                name = key.split("/", 1)[1]
                measured[same] = score_image(name, treated, true, configuration)
            rows += measured[same]
    return [sorted(rows, key=lambda row: str(row["image"])) for rows in scores]


class RunSearch:
    """What the candidates measured on one run's validation images, each the mean over them."""

    def __init__(self, record: RunRecord, configuration: Configuration) -> None:
        self.record = record
        self.configuration = replace(configuration, measures=("dice", BOUND))
        self.candidates = candidates(configuration.classes)
        self.settings = {
            "candidates": [candidate.title for candidate in self.candidates],
            "connectivity": configuration.connectivity,
            "tile": configuration.tile,
        }
        self.dice: list[float] = []
        self.bounds: list[float] = []
        self.errors: dict[int, float] = {}  # by candidate, as far as they were needed
        if self.file.exists():
            with blaming(self.file, "delete it and give the same command again"):
                stored = json.loads(self.file.read_text(encoding="utf-8"))
                if stored["settings"] == self.settings:
                    self.dice, self.bounds = stored["dice"], stored["bounds"]
                    self.errors = {int(index): e for index, e in stored["errors"].items()}

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return self.record.folder / SEARCH

    def save(self) -> None:
        """Write it, whole."""
        parts = {"dice": self.dice, "bounds": self.bounds, "errors": self.errors}
        write_json(self.file, {"settings": self.settings, **parts})

    def first_task(self) -> Task:
        """To measure what is cheap, of every candidate."""
        return self._task(self.candidates, self.configuration)

    def take(self, scores: list[list[Score]]) -> None:
        """The result of the first task."""
        self.dice = [_mean(rows, "dice") for rows in scores]
        self.bounds = [_mean(rows, BOUND) for rows in scores]
        self.save()

    def error_task(self, indices: Sequence[int]) -> Task:
        """To measure the criterion of these candidates: once, where some come to the same."""
        criterion = replace(self.configuration, measures=(CRITERION,))
        return self._task([self.candidates[index] for index in indices], criterion)

    def _task(self, treatments: Sequence[Postprocessing], measured: Configuration) -> Task:
        return Task(
            self.record, VALIDATION, tuple(treatments), self.configuration.connectivity, measured
        )


def search(
    results: Results, configuration: Configuration, seeds: dict[Method, list[int]], run_tasks: Map
) -> dict[Method, Choice]:
    """The post-processing of every method, over the validation images and its seeds given.

    Among the candidates under which the mean Dice falls by at most ALLOWED_DICE_LOSS, the one with
    the lowest mean Betti-matching error; of equal ones the simplest. A candidate whose bound is
    above the lowest error needs no matching, which takes most of the time.
    """
    chosen = {method: of_method for method, of_method in seeds.items() if of_method}
    by_method = {
        method: [RunSearch(results.runs[method][seed], configuration) for seed in of_method]
        for method, of_method in chosen.items()
    }
    missing = [run for runs in by_method.values() for run in runs if not run.dice]
    tasks = [run.first_task() for run in missing]
    with tqdm(total=len(tasks), desc=f"{results.name}: post-processing", unit="run") as bar:
        for run, scores in zip(missing, run_tasks(measure, tasks), strict=True):
            run.take(scores)
            bar.update()
    choices = {}
    with tqdm(total=len(by_method), desc=f"{results.name}: matching", unit="method") as bar:
        for method, runs in by_method.items():
            choices[method] = choose(runs, run_tasks)
            bar.update()
    return choices


def choose(runs: Sequence[RunSearch], run_tasks: Map) -> Choice:
    """Of one method, whose runs have measured what is cheap."""
    dice, bounds = (np.mean([getattr(run, name) for run in runs], 0) for name in ("dice", "bounds"))
    allowed = np.flatnonzero(dice >= dice[0] - ALLOWED_DICE_LOSS - ROUNDING).tolist()
    errors: dict[int, float] = {}
    # The first candidate leaves predictions as they are: what the others are compared with.
    ordered = sorted(allowed, key=lambda index: (index != 0, bounds[index], index))
    for (_, bound), group in groupby(ordered, key=lambda index: (index != 0, bounds[index])):
        if errors and bound > min(errors.values()) + ROUNDING:
            break
        indices = list(group)
        missing = [run for run in runs if not run.errors.keys() >= set(indices)]
        tasks = [run.error_task(indices) for run in missing]
        for run, scores in zip(missing, run_tasks(measure, tasks), strict=True):
            run.errors |= {
                i: _mean(rows, CRITERION) for i, rows in zip(indices, scores, strict=True)
            }
            run.save()
        errors |= {i: float(np.mean([run.errors[i] for run in runs])) for i in indices}
    lowest = min(errors.values())
    best = min(index for index, error in errors.items() if error <= lowest + ROUNDING)
    return Choice(
        postprocessing=runs[0].candidates[best],
        dice=float(dice[best]),
        error=errors[best],
        dice_before=float(dice[0]),
        error_before=errors[0],
        tried=len(dice),
        allowed=len(allowed),
        measured=len(errors),
    )


def _mean(rows: Sequence[Score], measure: str) -> float:
    return float(np.mean([float(row[measure]) for row in rows]))
