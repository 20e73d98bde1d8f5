"""`summary`: where SCNP helps and where it does not, in sentences, with the hours it all took."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from benchmarks.common.files import write_text, written_whole
from benchmarks.common.readme import update_file
from benchmarks.common.tables import either, markdown
from benchmarks.topology.benchmark import SIGNIFICANT, Cell, cells_of, columns, verdict
from benchmarks.topology.options import Reports, warnings
from benchmarks.topology.records import CONFIGURATION, CURVES, SCORES
from benchmarks.topology.results import (
    MODE_TITLES,
    TITLES,
    Method,
    Results,
    comparable,
    compared,
)
from benchmarks.topology.statistics import least_p_value

USUAL_LOSS = "ce_dice"
NOTICEABLE_DICE = 0.01  # a smaller change of Dice goes without saying
MACHINE = ("CPU", "cores", "memory", "torch", "scnp_kernels", "git revision")
BEGINNING = (
    "Written by `python -m benchmarks.topology summary`. What the figures mean, and what limits "
    "them: [benchmarks/topology](../../topology/README.md). A difference counts here at "
    f"p < {SIGNIFICANT}, in the paired permutation test over the {{units}}; it is of predictions "
    "as they come, without post-processing, and not corrected for their number. Every row says how "
    "many seeds it stands for. To repeat trainings, give `run` the data set's "
    "`configuration.json`: `python -m benchmarks.topology run --data FOLDER --configuration FILE "
    "--losses ce_dice`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `summary`."""
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="rewrite its blocks topology-DATA_SET too"
    )


def run(options: argparse.Namespace, found: Reports) -> None:
    """Write README.md, and copy what the tables are made from to --to if that is given."""
    units = either(r.scored_as(split) for r, _ in found for split in r.configuration.tests)
    beginning = BEGINNING.format(units=units)
    parts = ["# Results of the topology benchmark", *warnings(found), beginning]
    blocks = {}
    for results, target in found:
        blocks[f"topology-{results.name}"] = _block(results)
        parts += [_heading(results), *_verdicts(results, target), *_findings(results)]
        if options.to:
            for name in (CONFIGURATION, SCORES, CURVES):
                with written_whole(target / name) as temporary:
                    shutil.copyfile(results.folder / name, temporary)
    write_text((options.to or options.out) / "README.md", "\n\n".join(parts))
    if options.readme:
        update_file(options.readme, blocks)


def _block(results: Results) -> str:
    """The rows of the loss that everybody uses, on the first scored split."""
    rows = []
    for method in comparable(results):
        if method.loss == USUAL_LOSS:
            values = columns(cells_of(results, method, results.split)).values()
            rows.append([method.title, results.counted(method, results.split), *values])
    titles = [title for measure in results.measures for title in (TITLES[measure], "p")]
    table = markdown(["", "seeds", *titles], rows)
    return f"{results.warning}\n\n{table}" if results.warning else table


def _heading(results: Results) -> str:
    stored = json.loads((results.folder / CONFIGURATION).read_text(encoding="utf-8"))
    machine = stored.get("machine", {})
    facts = ", ".join(f"{name} {machine[name]}" for name in MACHINE if name in machine)
    records = [record for by_seed in results.runs.values() for record in by_seed.values()]
    hours = sum(record.seconds for record in records) / 3600
    samples = "Images" if results.configuration.spatial_dimensions == 2 else "Volumes"
    counts = ", ".join(f"{count} {split}" for split, count in stored.get("images", {}).items())
    return (
        f"## {results.name}\n\n"
        f"{len(records)} trainings of {results.configuration.iterations} iterations, {hours:.2f} "
        f"hours in all (one core each, of a machine that did other work too). {samples}: {counts}. "
        f"{facts}."
    )


def _verdicts(results: Results, folder: Path) -> Iterable[str]:
    """Where the verdict on every scored split stands, if there is one in the data set's folder."""
    links = [
        f"[{text} on {split}]({folder.name}/{file}-{split}.md)"
        for split in results.configuration.tests
        for file, text in (("verdict", "the verdict"), ("scores", "every measure"))
        if (folder / f"{file}-{split}.md").exists()
    ]
    if links:
        yield f"With post-processing: {', '.join(links)}."


def _findings(results: Results) -> Iterable[str]:
    """A paragraph per scored split: what falls, what rises, what stays."""
    methods = compared(results)
    for split in results.configuration.tests:
        lines = [f"On {split}:"]
        for mode in ("on", "joint"):
            of_mode = [method for method in methods if method.mode == mode]
            if of_mode:
                lines.append(f"- {MODE_TITLES[mode]}: {_sentence(results, of_mode, split)}")
        yield "\n".join([lines[0], "", *lines[1:]]) if len(lines) > 1 else f"{lines[0]} nothing."


def _sentence(results: Results, methods: list[Method], split: str) -> str:
    tested = [method for method in methods if results.tested(method, split)]
    cells = {method: cells_of(results, method, split) for method in tested}
    errors = {method: of_method["betti0_error"] for method, of_method in cells.items()}
    clauses = []
    for kind, words in (
        ("better", "lower Betti-0 error"),
        ("worse", "**higher** Betti-0 error"),
        ("", "no significant change of the Betti-0 error"),
    ):
        found = [m for m, of_m in errors.items() if verdict(of_m, "betti0_error") == kind]
        if found:
            changes = [f"{m.loss_title} ({_change(results, m, errors[m])})" for m in found]
            clauses.append(f"{words} with {', '.join(changes)}")
    failed = [method.loss_title for method in methods if method not in tested]
    if failed:
        clauses.append(f"not compared, since trainings collapsed: {', '.join(failed)}")
    if "dice" in results.measures and tested:
        changes_of_dice = {m: of_method["dice"].difference for m, of_method in cells.items()}
        lost = [
            f"{method.loss_title} ({change:+.3f})"
            for method, change in changes_of_dice.items()
            if change is not None and change < -NOTICEABLE_DICE
        ]
        if lost:
            clauses.append(f"{TITLES['dice']} **falls** by more than 0.01 with {', '.join(lost)}")
        else:
            clauses.append(f"{TITLES['dice']} falls nowhere by more than 0.01")
    count = results.scored(split)
    if least_p_value(count) >= SIGNIFICANT:
        clauses.append(
            f"with {count} {results.scored_as(split, count)} no test can reach p < {SIGNIFICANT}"
        )
    return "; ".join(clauses) + "."


def _change(results: Results, method: Method, error: Cell) -> str:
    """The difference from the plain loss, in percent too, and over how many seeds."""
    seeds = len(results.seeds(method, method.plain))
    difference = error.difference or 0.0
    before = error.mean - difference
    percent = f", {100 * difference / before:+.0f} %" if before > 0 else ""
    return f"{difference:+.2f}{percent}, {seeds} seed{'s' if seeds > 1 else ''}"
