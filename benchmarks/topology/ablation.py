"""`ablation`: what SCNP changes in each loss, over all data sets (Table 2)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.errors import UsageError
from benchmarks.common.pictures import panels, title
from benchmarks.common.tables import write_table
from benchmarks.topology import losses
from benchmarks.topology.benchmark import Cells, cells_of, digits_of, marked
from benchmarks.topology.options import Reports, warnings
from benchmarks.topology.results import (
    LOSS_TITLES,
    MODE_TITLES,
    TITLES,
    Method,
    Results,
    compared,
)

MEASURES = ("betti0_error", "dice", "cldice")
HATCHES = {"on": "", "joint": "//", "warm_up": ".."}
GAP = 1.0  # between the bars of two losses, in bars
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class Change(NamedTuple):
    """A loss on SCNP, compared with its plain version on the first scored split."""

    results: Results
    method: Method
    cells: Cells

    @property
    def seeds(self) -> list[int]:
        """Those that both have finished; none where a training of either collapsed."""
        return self.results.tested(self.method, self.results.split)

    def mean(self, method: Method, measure: str) -> float:
        """Of one of the two, over the common seeds."""
        return self.results.mean(method, self.results.split, measure, self.seeds)

    def counted(self) -> int | str:
        """How many seeds there are, or what collapsed ones of either found."""
        of = [self.results.counted(m, self.results.split) for m in (self.method, self.method.plain)]
        told = [
            f"{who}{text}"
            for who, text in zip(("", "plain: "), of, strict=True)
            if isinstance(text, str)
        ]
        return "; ".join(told) or len(self.seeds)


def run(options: argparse.Namespace, found: Reports) -> None:
    """Write ablation.md, .csv and .png into --to, or beside the data sets' folders."""
    changes = [
        Change(results, method, cells_of(results, method, results.split))
        for results, _ in found
        for method in compared(results)
    ]
    if not changes:
        raise UsageError(
            f"{options.out}: no loss has finished runs with SCNP and without on the same seed"
        )
    target = options.to or options.out
    write_table(
        target,
        "ablation",
        [_row(change) for change in changes],
        before="What SCNP changes in each loss, on the first scored split of each data set.",
        after="Over the seeds that both have finished; p as in the benchmark's tables. "
        "**Bold**: better at p < 0.05; _italic_: worse at p < 0.05. No change is told where a "
        "training collapsed.",
        warning=" ".join(warnings(found)),
    )
    draw(changes, target / "ablation.png", " ".join(warnings(found)))


def _row(change: Change) -> dict[str, object]:
    row: dict[str, object] = {
        "data set": change.results.name,
        "split": change.results.split,
        "loss": change.method.loss_title,
        "SCNP": change.method.mode_title,
        "seeds": change.counted(),
    }
    for measure in MEASURES:
        texts = ("", "", "")
        cell = change.cells.get(measure)
        if cell is not None and cell.difference is not None:
            digits = digits_of(measure)
            texts = (
                f"{change.mean(change.method.plain, measure):.{digits}f}",
                marked(f"{cell.difference:+.{digits}f}", cell, measure),
                f"{cell.p_value:.4f}",
            )
        for part, text in zip(("without", "change", "p"), texts, strict=True):
            row[f"{TITLES[measure]}: {part}"] = text
    return row


def draw(changes: list[Change], file: Path, warning: str = "") -> None:
    """The change of the Betti-0 error in percent and of Dice, one bar per loss, data set and mode.

    Bars of a loss stand together, as many as it has.
    """
    names = [name for name in losses.LOSSES if any(c.method.loss == name for c in changes)]
    data_sets = list(dict.fromkeys(change.results.name for change in changes))
    places: dict[tuple[str, str, str], float] = {}  # of a bar, by loss, data set and mode
    ticks = []
    place = 0.0
    for loss in names:
        bars = [(loss, c.results.name, c.method.mode) for c in changes if c.method.loss == loss]
        places |= {bar: place + index for index, bar in enumerate(bars)}
        ticks.append(place + (len(bars) - 1) / 2)
        place += len(bars) + GAP
    with panels(file, 10, 1.6 + 0.2 * place, 2, sharey=True) as (figure, all_axes):
        for data_set, mode in dict.fromkeys((c.results.name, c.method.mode) for c in changes):
            of_series = [c for c in changes if (c.results.name, c.method.mode) == (data_set, mode)]
            for axes, measure in zip(all_axes, ("betti0_error", "dice"), strict=True):
                shown = [c for c in of_series if measure in c.cells and c.seeds]
                if not shown:
                    continue
                axes.barh(
                    [places[change.method.loss, data_set, mode] for change in shown],
                    [_length(change, measure) for change in shown],
                    0.9,
                    color=COLOURS[data_sets.index(data_set) % len(COLOURS)],
                    hatch=HATCHES[mode],
                    edgecolor="white",
                    label=f"{data_set}, {MODE_TITLES[mode]}",
                )
        all_axes[0].set_yticks(ticks, [LOSS_TITLES[name] for name in names])
        all_axes[0].set_ylim(place - GAP, -1)  # the first loss on top, also where nothing is shown
        all_axes[0].set_xlabel("change of the Betti-0 error, % (negative is better)")
        all_axes[1].set_xlabel("change of Dice (positive is better)")
        handles, labels = all_axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(
                handles, labels, loc="outside lower center", ncols=len(data_sets), fontsize=9
            )
        if warning:
            title(figure, "", warning, 9)
        for axes in all_axes:
            axes.axvline(0, color="black", linewidth=0.8)
            axes.margins(x=0.08)
            if not axes.patches:
                axes.set_xlim(-1, 1)
            axes.grid(axis="x", alpha=0.3)


def _length(change: Change, measure: str) -> float:
    """The change in percent for the Betti-0 error, as it is for the others."""
    after = change.mean(change.method, measure)
    before = change.mean(change.method.plain, measure)
    if measure == "betti0_error":
        return 100 * (after / before - 1) if before else 0.0
    return after - before
