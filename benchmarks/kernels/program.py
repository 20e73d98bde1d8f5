"""Measure the kernels against their peers, and rewrite every table and picture from the result.

    python -m benchmarks.kernels                  everything; its results are stored in
                                                  benchmarks/results/kernels/INSTRUCTION_SET
    python -m benchmarks.kernels --report-only    tables and pictures anew, of all stored results
    python -m benchmarks.kernels --groups 2D 3D   some groups of cases, into build/benchmarks_part
    python -m benchmarks.kernels --quick          does it work? Tiny shapes, likewise

Stops with status 1, and writes nothing, if anything computes a wrong result.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.common.files import write_text
from benchmarks.common.readme import update_file
from benchmarks.harness.subject import SubjectError
from benchmarks.harness.turns import Effort
from benchmarks.kernels.bars import verdicts
from benchmarks.kernels.cases import FULL, QUICK, groups
from benchmarks.kernels.machine import (
    load_average,
    machine_facts,
    past_cache_bytes,
    thread_counts,
)
from benchmarks.kernels.measure import measure_group, missing_peers
from benchmarks.kernels.pictures import draw_pictures
from benchmarks.kernels.results import Record, Results, stored_runs, write_results
from benchmarks.kernels.tables import blocks, tables

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "kernels"
PART_RESULTS = ROOT / "build" / "benchmarks_part"
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "benchmarks" / "README.md")
TABLES_NAME = "tables.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 1 after one line on stderr that says what is wrong."""
    options = _parser().parse_args(arguments)
    # Tiny shapes, or some groups, must not replace the results of a whole run, nor be published.
    whole = not options.quick and options.groups is None
    out = options.out or (RESULTS if whole else PART_RESULTS)
    readmes = options.readme
    if readmes is None:
        readmes = [path for path in PAGES if path.exists()] if whole else []
    try:
        if not options.report_only:
            results = _measure(options)
            write_results(out / results.capability if out == RESULTS else out, results)
        runs = stored_runs(out)
    except (SubjectError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(runs, readmes)
    return 0


def report(runs: Mapping[Path, Results], readmes: Sequence[Path]) -> None:
    """Rewrite everything that is made from the results, and say how the bars stand."""
    for out, results in runs.items():
        draw_pictures(out, results)
        of_run = tables(results, out, out).items()
        write_text(out / TABLES_NAME, "\n\n".join(f"## {name}\n\n{text}" for name, text in of_run))
        for verdict in verdicts(results):
            mark = {True: "reached", False: "MISSED", None: "-"}[verdict.reached]
            print(f"{mark:>8}  {verdict.bar}: {verdict.measured}, bar {verdict.limit}")
    changed = [path for path in readmes if update_file(path, blocks(runs, path.parent))]
    print(f"Wrote {', '.join(map(str, [*runs, *changed]))}")


def _measure(options: argparse.Namespace) -> Results:
    start = time.perf_counter()
    torch.set_num_threads(options.threads)
    effort = Effort(options.seconds, options.least_rounds, options.most_rounds)
    say = partial(print, flush=True)
    facts = machine_facts(options.threads)
    print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n", flush=True)
    records: list[Record] = []
    missing: dict[str, str] = {}  # peers
    took: dict[str, float] = {}  # seconds, by group
    for group in groups(QUICK if options.quick else replace(FULL, threads=thread_counts())):
        if options.groups is not None and group.name not in options.groups:
            continue
        begun = time.perf_counter()
        say(f"{group.name}: {group.question} [{begun - start:.0f} s]")
        records += measure_group(
            group, effort, options.threads, past_cache_bytes(), say, not options.one_process
        )
        missing |= missing_peers(group)
        took[group.name] = time.perf_counter() - begun
        say(f"  took {took[group.name]:.0f} s")
    facts["load after"] = load_average()
    facts["minutes"] = f"{sum(took.values()) / 60:.1f}"
    facts["seconds by group"] = ", ".join(f"{name} {spent:.0f}" for name, spent in took.items())
    return Results(facts, records, missing)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels",
        description="Measure the kernels against their peers; rewrite tables and pictures.",
    )
    names = [group.name for group in groups(FULL)]
    parser.add_argument("--quick", action="store_true", help="tiny shapes: does it work?")
    parser.add_argument(
        "--report-only", action="store_true", help="measure nothing; use what --out holds"
    )
    parser.add_argument(
        "--one-process", action="store_true", help="to debug: implementations share a process"
    )
    parser.add_argument("--groups", nargs="+", choices=names, help="measure these only")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument(
        "--readme",
        type=Path,
        nargs="*",
        help="files whose marked blocks are rewritten (of a whole run: the README, and the pages "
        "docs/performance.md and benchmarks/README.md)",
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument(
        "--seconds",
        type=float,
        default=Effort.seconds,
        help="for each implementation on each case (default: %(default)s)",
    )
    parser.add_argument("--least-rounds", type=int, default=Effort.least_rounds)
    parser.add_argument("--most-rounds", type=int, default=Effort.most_rounds)
    return parser
