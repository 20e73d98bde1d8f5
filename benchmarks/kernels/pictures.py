"""The four pictures of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from benchmarks.common.pictures import picture
from benchmarks.common.tables import number, times
from benchmarks.harness.case import LABELS
from benchmarks.kernels.cases import (
    COPY,
    LISTING,
    LISTING_COMPILED,
    OURS,
    OURS_REFERENCE,
    PEERS,
    SHIFTED_COMPILED,
)
from benchmarks.kernels.results import BOTH, Record, Results, ratio

# Okabe and Ito's colours, which colour-blind readers can tell apart; line and marker tell too.
STYLES = {
    LISTING: ("#D55E00", "-", "o"),
    LISTING_COMPILED: ("#E69F00", "--", "s"),
    SHIFTED_COMPILED: ("#CC79A7", "-.", "^"),
    OURS_REFERENCE: ("#56B4E9", ":", "v"),
    OURS: ("#0072B2", "-", "D"),
    COPY: ("#555555", ":", "x"),
}
NAMES = {COPY: "copy of the logits (once)"}
WIDTH = 10  # inches
MOST_BARS = 12  # cases in one picture

Draw = Callable[[Figure, Results], None]


def draw_pictures(folder: Path, results: Results) -> list[Path]:
    """Write all four; every file whole or not at all."""
    for name, (_, draw) in _DRAWN_BY.items():
        # An opaque light ground with an edge: readable on a light page and on a dark one.
        ground: dict[str, Any] = {"facecolor": "white", "edgecolor": "#BBBBBB", "linewidth": 2}
        with picture(folder / name, WIDTH, WIDTH / 2, dpi=120, **ground) as figure:
            draw(figure, results)
    return [folder / name for name in _DRAWN_BY]


def latency_by_window(figure: Figure, results: Results) -> None:
    """Time against the window's side."""
    for axes, group in _pair(figure, "2D windows", "3D windows, smaller image"):
        records = results.in_group(group)
        copies = [record for record in records if record.implementation == COPY]
        for copy in copies:  # the window is all the same to it
            colour, line, _ = STYLES[COPY]
            axes.axhline(copy.milliseconds(BOTH), color=colour, linestyle=line, label=NAMES[COPY])
        records = [record for record in records if record not in copies]
        _lines(axes, records, lambda record: record.kernel_size)
        axes.set_title(records[0].shape_name if records else group)
        axes.set_xticks(sorted({record.kernel_size for record in records}))
        axes.set_xlabel("kernel size w")
    _finish_lines(figure)
    figure.suptitle("SCNP forward + backward by window")


def latency_by_size(figure: Figure, results: Results) -> None:
    """Time against the number of logits."""
    for axes, group in _pair(figure, "2D", "3D"):
        records = results.in_group(group)
        if records:
            dimensions = len(records[0].shape)
            records += [r for r in results.in_group("sizes") if len(r.shape) == dimensions]
        _lines(axes, records, lambda record: record.logits / 1e6)
        axes.set_title(f"{group}, w = 3")
        axes.set_xscale("log")
        axes.set_xticks(sorted({record.logits / 1e6 for record in records}))
        axes.xaxis.set_major_formatter("{x:.3g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("million logits")
    _finish_lines(figure)
    figure.suptitle("SCNP forward + backward by size")


def memory(figure: Figure, results: Results) -> None:
    """Bytes per logit: kept for backward, and the peak."""
    figure.set_size_inches(WIDTH, 4.2)
    for axes, group in zip(figure.subplots(1, 2, sharey=True), ("2D", "3D"), strict=True):
        found = {r.implementation: r for r in results.in_group(group)}
        records = [found[name] for name in (OURS, *reversed(PEERS)) if name in found]
        names = [record.implementation for record in records]
        peaks = [record.peak_per_logit for record in records]
        saved = [record.saved_per_logit for record in records]
        places = range(len(records))
        colours = [STYLES[name][0] for name in names]
        upper = axes.barh([p + 0.2 for p in places], peaks, 0.38, color=colours, label="peak")
        lower = axes.barh([p - 0.2 for p in places], saved, 0.38, label="saved")
        for bar, colour in zip(lower, colours, strict=True):
            bar.set(facecolor="white", edgecolor=colour, hatch="///")
        for bars, values in ((upper, peaks), (lower, saved)):
            axes.bar_label(bars, [number(value) for value in values], padding=3)
        axes.set_yticks(list(places), names)
        axes.set_title(f"{group}: {records[0].shape_name}" if records else group)
        axes.set_xlabel("bytes per logit")
        axes.margins(x=0.15)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle(
        "Memory beyond inputs and results, w = 3: peak of tensors (filled), "
        "saved for backward (hatched)"
    )


def speedup_by_shape(figure: Figure, results: Results) -> None:
    """How many times longer each peer takes."""
    cases = _compared_cases(results)[:MOST_BARS]
    figure.set_size_inches(WIDTH, 1.6 + 0.6 * max(3, len(cases)))
    axes = figure.subplots()
    height = 0.8 / len(PEERS)
    for index, peer in enumerate(PEERS):
        places: list[float] = []
        values: list[float] = []
        for row, (ours, others) in enumerate(cases):
            if peer in others:
                places.append(row + (index - (len(PEERS) - 1) / 2) * height)
                values.append(ratio(others[peer], ours, BOTH).of_medians)
        # From 1 to the right if the peer takes longer, from 1 to the left if it is faster.
        lengths = [value - 1 for value in values]
        axes.barh(places, lengths, height, left=1, color=STYLES[peer][0], label=peer)
        for place, value in zip(places, values, strict=True):
            offset, side = ((4, 0), "left") if value >= 1 else ((-4, 0), "right")
            axes.annotate(
                *(times(value), (value, place), offset),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8,
            )
    axes.axvline(1, color="black", linewidth=1.5)
    axes.set_yticks(range(len(cases)), [ours.shape_name for ours, _ in cases])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.margins(x=0.12)
    axes.set_xlabel("times as long as scnp cpu (left of 1: the peer is faster)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(PEERS))
    axes.set_title("SCNP forward + backward, w = 3, float32: speed-up by shape")


def _compared_cases(results: Results) -> list[tuple[Record, dict[str, Record]]]:
    """Every shape with w = 3 and nothing special, with the peers measured beside it."""
    found: dict[tuple[int, ...], tuple[Record, dict[str, Record]]] = {}
    for ours in results.records:
        plain = ours.kernel_size == 3 and ours.dtype == "float32" and ours.target == LABELS
        if not plain or ours.implementation != OURS or ours.shape in found:
            continue
        others = [r for r in results.in_group(ours.group) if r.case == ours.case]
        peers = {r.implementation: r for r in others if r.implementation in PEERS}
        if peers:
            found[ours.shape] = ours, peers
    return sorted(found.values(), key=lambda pair: (len(pair[0].shape), pair[0].logits))


def _lines(axes: Axes, records: Sequence[Record], position: Callable[[Record], float]) -> None:
    """One line for each implementation; the bars hold the middle half of the samples."""
    for name, (colour, line, marker) in STYLES.items():
        of_name = sorted((r for r in records if r.implementation == name), key=position)
        if not of_name:
            continue
        medians = [record.milliseconds(BOTH) for record in of_name]
        quartiles = [record.quartiles(BOTH) for record in of_name]
        below = [max(0.0, m - low) for m, (low, _) in zip(medians, quartiles, strict=True)]
        above = [max(0.0, high - m) for m, (_, high) in zip(medians, quartiles, strict=True)]
        axes.errorbar(
            [position(record) for record in of_name],
            medians,
            yerr=[below, above],
            color=colour,
            linestyle=line,
            marker=marker,
            capsize=3,
            label=NAMES.get(name, name),
        )


def _pair(figure: Figure, *groups: str) -> list[tuple[Axes, str]]:
    """Two panels beside each other, one for each group."""
    figure.set_size_inches(WIDTH, 4.6)
    return list(zip(figure.subplots(1, 2), groups, strict=True))


def _finish_lines(figure: Figure) -> None:
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("median, ms")
        axes.grid(alpha=0.3)
        handles |= {str(line.get_label()): line for line in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), list(handles), loc="outside lower center", ncols=6)


_DRAWN_BY: dict[str, tuple[str, Draw]] = {
    "latency_by_window.png": ("Latency by window", latency_by_window),
    "latency_by_size.png": ("Latency by size", latency_by_size),
    "memory.png": ("Memory", memory),
    "speedup_by_shape.png": ("Speed-up by shape", speedup_by_shape),
}
PICTURES = {name: title for name, (title, _) in _DRAWN_BY.items()}
