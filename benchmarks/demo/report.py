"""Tell the results: a table to read, and CSV files to work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.common.files import write_csv
from benchmarks.demo.comparison import Run
from benchmarks.demo.methods import METHODS, PLAIN

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


def summarise(runs: list[Run]) -> list[Summary]:
    """Every run; and with several seeds, every method's mean over them after the runs."""
    summaries = [_of_run(run) for run in runs]
    if len({run.seed for run in runs}) > 1:
        summaries += [
            _mean_of_seeds([s for s in summaries if s.method == method]) for method in METHODS
        ]
    return summaries


def table(summaries: list[Summary]) -> str:
    """The summaries as aligned text, a line between seeds."""
    lines = [f"{'method':<16}{'seed':>6}{'Dice':>8}{'Betti-0 error':>15}{'clDice':>8}{'time':>9}"]
    for index, s in enumerate(summaries):
        if index == 0 or s.seed != summaries[index - 1].seed:
            lines.append("-" * len(lines[0]))
        lines.append(
            f"{s.method:<16}{s.seed:>6}{s.dice:>8.4f}{s.betti0_error:>15.2f}"
            f"{s.cldice:>8.4f}{s.seconds:>7.0f} s"
        )
    return "\n".join(lines)


def verdict(summaries: list[Summary]) -> str:
    """How the Betti-0 error and Dice changed against the plain loss, over all seeds."""
    last = {s.method: s for s in summaries[-len(METHODS) :]}
    plain = last[PLAIN]
    sentences = []
    for method in METHODS:
        if method != PLAIN:
            change = last[method].dice - plain.dice
            sentences.append(
                f"{method}: Betti-0 error {_percent(last[method].betti0_error, plain.betti0_error)}"
                f", Dice {change:+.4f}"
            )
    return f"Compared with {PLAIN}:  " + ";  ".join(sentences)


def write_scores(path: Path, runs: list[Run]) -> None:
    """One row for every method, seed and test image."""
    write_csv(
        path,
        ("method", "seed", "image", "dice", "betti0_error", "cldice"),
        (
            (run.method, run.seed, s.image, f"{s.dice:.6f}", s.betti0_error, f"{s.cldice:.6f}")
            for run in runs
            for s in run.scores
        ),
    )


def write_summaries(path: Path, summaries: list[Summary]) -> None:
    """One row for every line of the table."""
    write_csv(
        path,
        ("method", "seed", "dice", "betti0_error", "cldice", "seconds"),
        (
            (
                s.method,
                s.seed,
                f"{s.dice:.6f}",
                f"{s.betti0_error:.4f}",
                f"{s.cldice:.6f}",
                f"{s.seconds:.2f}",
            )
            for s in summaries
        ),
    )


def _of_run(run: Run) -> Summary:
    return Summary(
        method=run.method,
        seed=str(run.seed),
        dice=mean(s.dice for s in run.scores),
        betti0_error=mean(s.betti0_error for s in run.scores),
        cldice=mean(s.cldice for s in run.scores),
        seconds=run.seconds,
    )


def _mean_of_seeds(summaries: list[Summary]) -> Summary:
    return Summary(
        method=summaries[0].method,
        seed=MEAN,
        dice=mean(s.dice for s in summaries),
        betti0_error=mean(s.betti0_error for s in summaries),
        cldice=mean(s.cldice for s in summaries),
        seconds=mean(s.seconds for s in summaries),
    )


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.0f} %" if reference else f"{value - reference:+.2f}"
