"""The verdict's tables, and its one chart: every method beside the plain baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks.common.pictures import picture, title
from benchmarks.common.tables import Table, markdown_of
from benchmarks.topology.benchmark import COLOURS, digits_of
from benchmarks.topology.comparisons import (
    BASELINE,
    SIGNIFICANT,
    Comparison,
    Verdict,
    overall,
    paired_as,
    percent,
    sentence,
)
from benchmarks.topology.final_scores import AS_PREDICTED, POST_PROCESSED, Column, columns
from benchmarks.topology.results import CUBES_NOTE, TITLES, Method
from benchmarks.topology.search import ALLOWED_DICE_LOSS
from benchmarks.topology.statistics import Effect

SECONDARY_NOTES = (
    "The same test for every measure, with post-processing and without, by both connectivities "
    "(in brackets, how many neighbours a pixel touches). **Bold**: better than the first method in "
    "the same version at p < 0.05, corrected for all comparisons of this table by Holm's method; "
    "_italic_: worse. The p-values and intervals stand in the .json file."
)


def rules(verdicts: Sequence[Verdict]) -> str:
    """How post-processing was searched for: in words, what ``candidates`` are of these data."""
    configurations = [verdict.results.configuration for verdict in verdicts]
    several = {configuration.classes > 2 for configuration in configurations}
    threshold = "a threshold or hysteresis of the foreground's probability"
    if several == {False}:
        tried = f"{threshold}, a closing, a smallest piece"
    elif several == {True}:
        tried = (
            "a closing, a smallest piece, of each class by itself (and no threshold, since the "
            "most probable of several classes stays)"
        )
    else:
        tried = (
            f"{threshold} (not where there are several foreground classes: the most probable one "
            "stays), a closing, a smallest piece, of each class by itself"
        )
    validated = " and ".join(
        name
        for dimensions, name in ((2, "images"), (3, "volumes"))
        if any(c.spatial_dimensions == dimensions for c in configurations)
    )
    return (
        f"Every method was given the same search of post-processing on the validation {validated}: "
        f"{tried}; of all combinations under which its Dice falls by at most "
        f"{ALLOWED_DICE_LOSS:g} the one with the lowest Betti-matching error, of equal ones the "
        f"simplest. Then it was scored on the test {validated}, once."
    )


def primary_notes(verdicts: Sequence[Verdict]) -> str:
    """What the columns of ``primary_rows`` mean, after the rules."""
    over = paired_as(verdicts)
    cubes = f"{CUBES_NOTE} " if any(v.results.is_cut(v.split) for v in verdicts) else ""
    return (
        f"{rules(verdicts)} Means over sound seeds and {over}. Differences from the first row are "
        f"over the seeds of both, with 95 % bootstrap intervals over {over}; p: paired permutation "
        f"test over {over}, each averaged over its seeds (every swap for up to 16 {over}, else "
        "100,000 of them), also corrected for the rows of this table by Holm's method. "
        f"p speaks of other {over}, not of other trainings: for those, see in how many seeds the "
        f"method made fewer mistakes than the baseline of the same seed. {cubes}**Bold**: "
        f"fewer mistakes at corrected p < {SIGNIFICANT}; _italic_: more (as predicted: corrected "
        "for all comparisons of the table of scores). A training that collapsed is in no mean; its "
        "method has no p."
    )


def primary_rows(verdict: Verdict) -> Table:
    """One row per method: mistakes after the chosen post-processing, and the loss of Dice."""
    by_method = {comparison.method: comparison for comparison in verdict.primary}
    dice = {
        c.method: c
        for c in verdict.secondary
        if (c.version, c.column.measure) == (POST_PROCESSED, "dice")
    }
    unprocessed = {
        c.method: c
        for c in verdict.secondary
        if (c.version, c.column) == (AS_PREDICTED, verdict.main)
    }
    error = TITLES[verdict.main.measure]
    dimensions = verdict.results.configuration.spatial_dimensions
    rows: Table = []
    for method in verdict.methods:
        found, choice = by_method.get(method), verdict.choices.get(method)
        treatment = choice.postprocessing.described(dimensions, ends=True) if choice else ""
        mean = _mean(verdict, method, POST_PROCESSED, verdict.main)
        before = _mean(verdict, method, AS_PREDICTED, verdict.main)
        rows.append(
            {
                "method": method.title,
                "seeds": verdict.counted(method),
                f"{error}, {AS_PREDICTED}": _marked(before, unprocessed.get(method)),
                "post-processing": treatment,
                error: _marked(mean, found),
                "difference [95 %]": _interval(found.difference, 2) if found else "",
                "change [95 %]": percent(found.change) if found else "",
                "seeds with fewer": _seeds_with_fewer(found) if found else "",
                "p": p_text(found.p) if found else "",
                "p (Holm)": p_text(found.p_holm) if found else "",
                "Dice": _mean(verdict, method, POST_PROCESSED, Column("dice")),
                "Dice: difference [95 %]": _interval(dice[method].difference, 4) if found else "",
            }
        )
    return rows


def block(verdicts: list[Verdict]) -> str:
    """The verdict and its tables, for a page of the documentation."""
    warnings = dict.fromkeys(verdict.results.warning for verdict in verdicts)
    tables = [
        f"{sentence(verdict)}\n\n{markdown_of(primary_rows(verdict))}" for verdict in verdicts
    ]
    return "\n\n".join(
        [*filter(None, warnings), overall(verdicts), *tables, primary_notes(verdicts)]
    )


def score_rows(verdict: Verdict) -> Table:
    """Two rows per method: as it predicts, and post-processed; every measure."""
    found = {(c.method, c.version, c.column): c for c in verdict.secondary}
    return [
        {
            "method": method.title,
            "seeds": verdict.counted(method),
            "version": version,
            **{
                column.title: _marked(
                    _mean(verdict, method, version, column), found.get((method, version, column))
                )
                for column in columns(verdict.results)
            },
        }
        for method in verdict.methods
        for version in (AS_PREDICTED, POST_PROCESSED)
    ]


def _mean(verdict: Verdict, method: Method, version: str, column: Column) -> str:
    if method not in verdict.scores:
        return ""
    mean = verdict.scores[method][version][column.name].mean()
    return f"{mean:.{digits_of(column.measure)}f}"


def _marked(text: str, comparison: Comparison | None) -> str:
    mark = {"better": "**", "worse": "_"}.get(comparison.outcome if comparison else "", "")
    return f"{mark}{text}{mark}"


def p_text(p_value: float) -> str:
    """With four digits, and never 0.

    Example:
        >>> p_text(0.0312), p_text(0.00002)
        ('0.0312', '<0.0001')
    """
    return f"{p_value:.4f}" if p_value >= 0.0001 else "<0.0001"


def _seeds_with_fewer(comparison: Comparison) -> str:
    """How many trainings made fewer mistakes than the baseline's of the same seed."""
    return f"{sum(change < 0 for change in comparison.by_seed)} of {len(comparison.by_seed)}"


def _interval(effect: Effect, digits: int) -> str:
    text = f"{effect.value:+.{digits}f}"
    if np.isfinite([effect.low, effect.high]).all():
        text += f" [{effect.low:+.{digits}f}, {effect.high:+.{digits}f}]"
    return text


def draw(verdicts: list[Verdict], file: Path) -> None:
    """A panel per test set: each method's change of the mistakes, with its interval."""
    rows = [max(1, len(verdict.methods) - 1) for verdict in verdicts]
    with picture(file, 8.5, 1.2 + 0.75 * len(rows) + 0.36 * sum(rows)) as figure:
        panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows, sharex=True)[:, 0]
        for axes, verdict in zip(panels, verdicts, strict=True):
            _draw_panel(axes, verdict)
        panels[-1].set_xlabel(
            "change of the Betti-matching error from plain CE+Dice, % (lower is better)"
        )
        figure.legend(
            handles=[
                Line2D([], [], color="#555555", marker="o", label="post-processed"),
                Line2D([], [], color="#555555", marker="o", mfc="white", label="as predicted"),
            ],
            loc="outside lower center",
            ncols=2,
        )
        warnings = dict.fromkeys(verdict.results.warning for verdict in verdicts)
        title(figure, "Topological mistakes", " ".join(filter(None, warnings)))


def _draw_panel(axes: Axes, verdict: Verdict) -> None:
    methods = [method for method in verdict.methods if method != BASELINE]
    as_predicted = [
        c for c in verdict.secondary if (c.version, c.column) == (AS_PREDICTED, verdict.main)
    ]
    for offset, fill, comparisons in ((-0.12, True, verdict.primary), (0.16, False, as_predicted)):
        for c in comparisons:
            change = 100 * np.array(c.change)
            if not np.isfinite(change[0]):
                continue
            around = np.nan_to_num(np.abs(change[1:] - change[0]))
            axes.errorbar(
                [change[0]],
                [methods.index(c.method) + offset],
                xerr=around[:, None],
                fmt="o",
                color=COLOURS[c.method.mode],
                mfc=COLOURS[c.method.mode] if fill else "white",
                capsize=2,
            )
    axes.axvline(0, color="#888888", linewidth=1)
    labels = [m.title + (" (collapsed)" if verdict.failed(m) else "") for m in methods]
    axes.set_yticks(range(len(methods)), labels, fontsize=9)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{verdict.results.name}, {verdict.split}", fontsize=10, loc="left")
