"""Tell the results: a table to read, and a CSV file to work with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from benchmarks.common.files import write_csv
from benchmarks.topology.results import Method, Results

MEAN = "mean"


@dataclass(frozen=True)
class Summary:
    """The means over the test images of one method with one seed, or over all seeds."""

    method: str
    seed: str  # a number, or MEAN
    dice: float
    betti0_error: float
    cldice: float
    seconds: float


def summarise(results: Results) -> list[Summary]:
    """Every run; and with several seeds, every method's mean over them after the runs."""
    methods = results.methods()
    seeds = results.seeds(*methods)
    groups = [(str(seed), [seed]) for seed in seeds]
    if len(seeds) > 1:
        groups.append((MEAN, seeds))
    return [_summary(results, method, *group) for group in groups for method in methods]


def _summary(results: Results, method: Method, name: str, seeds: list[int]) -> Summary:
    dice, betti0_error, cldice = (
        float(results.values(method, "test", measure, seeds).mean())
        for measure in ("dice", "betti0_error", "cldice")
    )
    seconds = mean(results.runs[method][seed].seconds for seed in seeds)
    return Summary(method.title, name, dice, betti0_error, cldice, seconds)


def table(summaries: list[Summary]) -> str:
    """The summaries as aligned text, a line between seeds."""
    lines = [f"{'method':<23}{'seed':>6}{'Dice':>8}{'Betti-0 error':>15}{'clDice':>8}{'time':>9}"]
    for index, s in enumerate(summaries):
        if index == 0 or s.seed != summaries[index - 1].seed:
            lines.append("-" * len(lines[0]))
        lines.append(
            f"{s.method:<23}{s.seed:>6}{s.dice:>8.4f}{s.betti0_error:>15.2f}"
            f"{s.cldice:>8.4f}{s.seconds:>7.0f} s"
        )
    return "\n".join(lines)


def verdict(summaries: list[Summary]) -> str:
    """How the Betti-0 error and Dice changed against the plain loss, over all seeds."""
    plain, *others = (s for s in summaries if s.seed == summaries[-1].seed)
    changes = [
        f"{other.method}: Betti-0 error {_percent(other.betti0_error, plain.betti0_error)}"
        f", Dice {other.dice - plain.dice:+.4f}"
        for other in others
    ]
    return f"Compared with {plain.method}:  " + ";  ".join(changes)


def write_summaries(path: Path, summaries: list[Summary]) -> None:
    """One row for every line of the table."""
    write_csv(path, [asdict(summary) for summary in summaries])


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.0f} %" if reference else f"{value - reference:+.2f}"
