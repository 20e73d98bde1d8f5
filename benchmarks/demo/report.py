"""Tell the results: a table to read, and a CSV file to work with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from statistics import mean

from benchmarks.common.files import write_csv
from benchmarks.topology.results import Method, Results

MEAN = "mean"


@dataclass(frozen=True)
class Summary:
    """The means over the test images of one method with one seed, or over all sound seeds.

    They are nan where every training collapsed.
    """

    method: str
    seed: str  # a number, or MEAN
    dice: float
    betti0_error: float
    cldice: float
    seconds: float
    collapse: str = ""  # what collapsed trainings found


def summarise(results: Results) -> list[Summary]:
    """Every run; and with several seeds, every method's mean over them after the runs."""
    methods = results.methods()
    seeds = results.seeds(*methods)
    groups = [(str(seed), [seed]) for seed in seeds]
    if len(seeds) > 1:
        groups.append((MEAN, seeds))
    return [_summary(results, method, *group) for group in groups for method in methods]


def _summary(results: Results, method: Method, name: str, seeds: list[int]) -> Summary:
    collapsed = results.collapsed(method, "test")
    sound = [seed for seed in seeds if seed not in collapsed]
    dice, betti0_error, cldice = (
        results.mean(method, "test", measure, sound)
        for measure in ("dice", "betti0_error", "cldice")
    )
    seconds = mean(results.runs[method][seed].seconds for seed in seeds)
    collapse = ""
    if len(sound) < len(seeds):
        of_all = str(results.counted(method, "test"))
        collapse = of_all if name == MEAN else f"found {collapsed[seeds[0]]}"
    return Summary(method.title, name, dice, betti0_error, cldice, seconds, collapse)


def table(summaries: list[Summary]) -> str:
    """The summaries as aligned text, a line between seeds."""
    lines = [f"{'method':<23}{'seed':>6}{'Dice':>8}{'Betti-0 error':>15}{'clDice':>8}{'time':>9}"]
    for index, s in enumerate(summaries):
        if index == 0 or s.seed != summaries[index - 1].seed:
            lines.append("-" * len(lines[0]))
        figures = f"{s.dice:>8.4f}{s.betti0_error:>15.2f}{s.cldice:>8.4f}"
        figures = " " * len(figures) if isnan(s.dice) else figures
        line = f"{s.method:<23}{s.seed:>6}{figures}{s.seconds:>7.0f} s  {s.collapse}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def verdict(summaries: list[Summary]) -> str:
    """How the Betti-0 error and Dice changed against the plain loss, over all seeds."""
    plain, *others = (s for s in summaries if s.seed == summaries[-1].seed)
    changes = [
        f"{other.method}: not compared, since trainings collapsed"
        if other.collapse or plain.collapse
        else f"{other.method}: Betti-0 error {_percent(other.betti0_error, plain.betti0_error)}"
        f", Dice {other.dice - plain.dice:+.4f}"
        for other in others
    ]
    return f"Compared with {plain.method}:  " + ";  ".join(changes)


def write_summaries(path: Path, summaries: list[Summary]) -> None:
    """One row for every line of the table, without figures (nan) where all trainings collapsed."""
    rows = [asdict(summary) for summary in summaries]
    write_csv(path, [{k: "" if v != v else v for k, v in row.items()} for row in rows])


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.0f} %" if reference else f"{value - reference:+.2f}"
