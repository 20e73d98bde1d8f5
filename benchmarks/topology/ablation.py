"""`ablation`: what SCNP changes in each loss, over all data sets (Table 2)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.common.pictures import picture
from benchmarks.common.tables import write_table
from benchmarks.topology import losses
from benchmarks.topology.benchmark import Cell, cell, digits_of, marked
from benchmarks.topology.errors import UsageError
from benchmarks.topology.options import add_results_arguments, reports
from benchmarks.topology.results import (
    LOSS_TITLES,
    MODE_TITLES,
    TITLES,
    Method,
    Results,
    comparable,
    plain,
)

MEASURES = ("betti0_error", "dice", "cldice")
HATCHES = {"on": "", "joint": "//"}
GAP = 1.0  # between the bars of two losses, in bars
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

Change = tuple[Results, Method, dict[str, Cell]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ablation`."""
    add_results_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Write ablation.md, .csv and .png into --to, or beside the data sets' folders."""
    changes = [change for results, _ in reports(options) for change in changes_of(results)]
    if not changes:
        raise UsageError(
            f"{options.out}: no loss has finished runs with SCNP and without on the same seed"
        )
    target = options.to or options.out
    write_table(
        target,
        "ablation",
        ["data set", "split", "loss", "SCNP", "seeds"]
        + [f"{TITLES[m]}: {part}" for m in MEASURES for part in ("without", "change", "p")],
        [_row(change) for change in changes],
        before="What SCNP changes in each loss, on the first scored split of each data set.",
        after="Over the seeds that both have finished; p as in the benchmark's tables. "
        "**Bold**: better at p < 0.05; _italic_: worse at p < 0.05.",
    )
    draw(changes, target / "ablation.png")


def changes_of(results: Results) -> list[Change]:
    """Every loss on SCNP with its plain version, compared on the first scored split."""
    split = results.configuration.tests[0]
    return [
        (
            results,
            method,
            {
                measure: cell(results, method, split, measure)
                for measure in MEASURES
                if measure in results.configuration.measures
            },
        )
        for method in comparable(results)
        if method.mode != "off" and results.seeds(method, plain(method))
    ]


def _row(change: Change) -> list[object]:
    results, method, cells = change
    split = results.configuration.tests[0]
    seeds = results.seeds(method, plain(method))
    row: list[object] = [
        results.name,
        split,
        LOSS_TITLES[method.loss],
        MODE_TITLES[method.mode],
        len(seeds),
    ]
    for measure in MEASURES:
        if measure not in cells or cells[measure].difference is None:
            row += ["", "", ""]
            continue
        without = results.values(plain(method), split, measure, seeds).mean()
        digits = digits_of(measure)
        difference = f"{cells[measure].difference:+.{digits}f}"
        row += [
            f"{without:.{digits}f}",
            marked(difference, cells[measure], measure),
            f"{cells[measure].p_value:.4f}",
        ]
    return row


def draw(changes: list[Change], file: Path) -> None:
    """The change of the Betti-0 error in percent and of Dice, one bar per loss, data set and mode.

    Bars of a loss stand together, as many as it has.
    """
    names = [name for name in losses.LOSSES if any(m.loss == name for _, m, _ in changes)]
    data_sets = list(dict.fromkeys(results.name for results, _, _ in changes))
    places: dict[tuple[str, str, str], float] = {}  # of a bar, by loss, data set and mode
    ticks = []
    place = 0.0
    for loss in names:
        bars = [(loss, results.name, m.mode) for results, m, _ in changes if m.loss == loss]
        places |= {bar: place + index for index, bar in enumerate(bars)}
        ticks.append(place + (len(bars) - 1) / 2)
        place += len(bars) + GAP
    with picture(file, 10, 1.6 + 0.2 * place) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        series = list(dict.fromkeys((results.name, method.mode) for results, method, _ in changes))
        for data_set, mode in series:
            of_series = [c for c in changes if (c[0].name, c[1].mode) == (data_set, mode)]
            for axes, measure in zip(panels, ("betti0_error", "dice"), strict=True):
                shown = [change for change in of_series if measure in change[2]]
                axes.barh(
                    [places[method.loss, data_set, mode] for _, method, _ in shown],
                    [_change(results, method, measure) for results, method, _ in shown],
                    0.9,
                    color=COLOURS[data_sets.index(data_set) % len(COLOURS)],
                    hatch=HATCHES[mode],
                    edgecolor="white",
                    label=f"{data_set}, {MODE_TITLES[mode]}",
                )
        panels[0].set_yticks(ticks, [LOSS_TITLES[name] for name in names])
        panels[0].invert_yaxis()
        panels[0].set_xlabel("change of the Betti-0 error, % (negative is better)")
        panels[1].set_xlabel("change of Dice (positive is better)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(data_sets), fontsize=9)
        for axes in panels:
            axes.axvline(0, color="black", linewidth=0.8)
            axes.margins(x=0.08)
            axes.grid(axis="x", alpha=0.3)


def _change(results: Results, method: Method, measure: str) -> float:
    """In percent for the Betti-0 error, as it is for the others."""
    split = results.configuration.tests[0]
    seeds = results.seeds(method, plain(method))
    after, before = (
        float(np.mean(results.values(m, split, measure, seeds))) for m in (method, plain(method))
    )
    if measure == "betti0_error":
        return 100 * (after / before - 1) if before else 0.0
    return after - before
