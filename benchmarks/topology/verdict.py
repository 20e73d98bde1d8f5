"""`verdict`: does SCNP help? A referee's protocol, from trainings to report.html."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.common.errors import UsageError
from benchmarks.common.files import write_text
from benchmarks.common.readme import update_file
from benchmarks.common.tables import by, write_table
from benchmarks.topology import convergence, losses, qualitative
from benchmarks.topology.comparisons import BASELINE, Verdict, overall, sentence
from benchmarks.topology.configuration import RunKey, grid
from benchmarks.topology.datasets import DataSet, read_pixels_to_show
from benchmarks.topology.final_scores import connectivities, final_scores
from benchmarks.topology.options import one_of
from benchmarks.topology.records import CONFIGURATION
from benchmarks.topology.report import CHART, PICTURE, write_report
from benchmarks.topology.results import Results, read_results
from benchmarks.topology.run_command import train
from benchmarks.topology.search import search, workers
from benchmarks.topology.settings import add_training_arguments
from benchmarks.topology.structures import are_tubes
from benchmarks.topology.verdict_tables import (
    SECONDARY_NOTES,
    block,
    draw,
    primary_notes,
    primary_rows,
    score_rows,
)

OTHERS = ("cldice", "skeleton_recall")  # losses with SCNP and without, beside the baseline's
OF_TUBES = "skeleton_recall"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `verdict`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, nargs="+", metavar="DIR", help="data sets' folders")
    add(
        "--losses",
        type=one_of(losses.LOSSES, "all"),
        metavar="NAMES",
        help=f"beside {BASELINE.loss}, comma-separated (default: {', '.join(OTHERS)}, the latter "
        "where structures are tubes); what else --out holds is compared too",
    )
    add_training_arguments(parser, several_windows=False)
    add("--to", type=Path, metavar="DIR", help="write reports to DIR (default: --out)")
    add("--readme", type=Path, metavar="FILE", help="rewrite its block `verdict` too")


def run(options: argparse.Namespace) -> None:
    """Train what is missing of every data set, search, score, compare, and write the report."""
    _check(options)
    target = options.to or options.out
    verdicts: list[Verdict] = []
    folders: list[Path] = []
    for data in options.data:
        folder = _train(options, data)
        results = read_results(folder)
        processes = 1 if options.one_process else options.workers or os.cpu_count() or 1
        of_data = judge(results, options.kernel_size[0], processes)
        write_verdicts(results, of_data, data, target / folder.name)
        verdicts += of_data
        folders.append(target / folder.name)
    draw(verdicts, target / CHART)
    report = write_report(target, overall(verdicts), verdicts, folders)
    if options.readme:
        update_file(options.readme, {"verdict": block(verdicts)})
    print(overall(verdicts))
    print(report)
    warnings = [v.results.warning for v in verdicts if v.split == v.results.split]
    if any(warnings):
        print(*filter(None, warnings), file=sys.stderr)


def _check(options: argparse.Namespace) -> None:
    """Raise UsageError for what would be trained, or counted, for nothing."""
    if len(options.kernel_size) > 1:
        raise UsageError(
            f"--kernel-size: got {','.join(map(by, options.kernel_size))}, takes one window, which "
            "the verdict is about; `run` trains several"
        )
    names = [data.resolve().name for data in options.data]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--data: got {name} twice, takes folders of different names, by which --out keeps "
                "their runs"
            )


def _train(options: argparse.Namespace, data: Path) -> Path:
    """The methods to compare, in the folder's own configuration if it has one."""
    own = {**vars(options), "data": data}
    stored = options.out / data.resolve().name / CONFIGURATION
    if options.configuration is None and stored.is_file():
        own["configuration"] = stored
    return train(
        argparse.Namespace(**own),
        lambda read: keys(read, options.losses, options.kernel_size, options.seeds),
    )


def keys(
    data: DataSet, others: Sequence[str] | None, windows: Sequence[tuple[int, ...]], seeds: int
) -> list[RunKey]:
    """The baseline's loss in every mode, the others with SCNP and without; the first seed first."""
    if others is None:
        tubes = are_tubes(sample.truth for sample in data.train)
        others = [loss for loss in OTHERS if tubes or loss != OF_TUBES]
    wanted = grid((BASELINE.loss,), losses.MODES, windows, range(seeds))
    wanted += grid(
        [loss for loss in others if loss != BASELINE.loss],
        (losses.OFF, losses.ON),
        windows,
        range(seeds),
    )
    return sorted(wanted, key=lambda key: key.seed)


def judge(results: Results, window: tuple[int, ...], processes: int) -> list[Verdict]:
    """A verdict per scored split; what was searched and scored before is read.

    Of the methods on SCNP, those with the ``window`` are judged.
    """
    judged = [m for m in results.methods() if m.mode == losses.OFF or m.window == window]
    methods = sorted(judged, key=lambda method: method != BASELINE)
    tests = results.configuration.tests
    seeds = {
        method: sorted(set.intersection(*(set(results.sound(method, s)) for s in tests)))
        for method in methods
    }
    with workers(processes) as run_tasks:
        configuration = results.configuration
        by_main = replace(configuration, connectivity=connectivities(configuration)[0])
        choices = search(results, by_main, seeds, run_tasks)
        return [
            Verdict(
                results,
                split,
                window,
                methods,
                seeds,
                choices,
                final_scores(results, split, choices, seeds, run_tasks),
            )
            for split in tests
        ]


def write_verdicts(results: Results, verdicts: list[Verdict], data: Path, folder: Path) -> None:
    """Tables, picture and curves of one data set."""
    for verdict in verdicts:
        where = f"{results.name}, {verdict.split}, w = {by(verdict.window)}"
        write_table(
            folder,
            f"verdict-{verdict.split}",
            primary_rows(verdict),
            before=f"{sentence(verdict)}\n\n{where}; mistakes: {verdict.main.title}.",
            after=primary_notes([verdict]),
            warning=results.warning,
        )
        write_table(
            folder,
            f"scores-{verdict.split}",
            score_rows(verdict),
            before=f"{where}: every measure.",
            after=SECONDARY_NOTES,
            warning=results.warning,
        )
        write_text(
            folder / f"verdict-{verdict.split}.json", json.dumps(verdict.to_json(), indent=2)
        )
    methods = [method for method in verdicts[0].methods if method.loss == BASELINE.loss]
    convergence.write_convergence(results, methods, folder)
    seed = next(iter(verdicts[0].seeds[BASELINE]), results.seeds(BASELINE)[0])
    choice = verdicts[0].choices.get(BASELINE)
    qualitative.draw(
        results,
        qualitative.methods_to_show(results, BASELINE.loss, seed, verdicts[0].window),
        seed,
        verdicts[0].usual_image,
        partial(read_pixels_to_show, data),
        folder / PICTURE,
        treatment=choice.postprocessing if choice else None,
        usual=True,
    )
