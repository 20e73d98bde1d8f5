"""`sensitivity`: which window, next to how thick the structures are (Table 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.errors import UsageError
from benchmarks.common.pictures import panels, title
from benchmarks.common.tables import by, write_table
from benchmarks.topology.benchmark import COLOURS, MARKERS, cells_of, columns, notes
from benchmarks.topology.losses import MODES
from benchmarks.topology.options import Reports
from benchmarks.topology.records import spacing_of, truths
from benchmarks.topology.results import MODE_TITLES, TITLES, Method, Results
from benchmarks.topology.structures import structure_thickness
from benchmarks.topology.windows import as_text, suggested_window, unit_of, window_per_axis


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sensitivity`."""
    parser.add_argument("--loss", default="ce_dice", help="whose windows to compare (ce_dice)")


def run(options: argparse.Namespace, found: Reports) -> None:
    """Write sensitivity-LOSS.md, .csv and .png for every data set with several windows."""
    written = 0
    for results, folder in found:
        methods = [method for method in results.methods() if method.loss == options.loss]
        if len({method.window for method in methods if method.mode != "off"}) > 1:
            write_sensitivity(results, methods, folder)
            written += 1
    if not written:
        raise UsageError(
            f"{options.out}: --loss: got {options.loss}, of which no data set has finished runs "
            "with two windows or more; run with --kernel-size 3,5,7"
        )


def write_sensitivity(results: Results, methods: list[Method], folder: Path) -> None:
    """The table and the picture of one data set."""
    thickness = measured_thickness(results)
    write_table(
        folder,
        f"sensitivity-{methods[0].loss}",
        [
            {
                "w": "" if method.mode == "off" else by(method.window),
                "SCNP": method.mode_title,
                "seeds": results.counted(method, results.split),
                **columns(cells_of(results, method, results.split)),
            }
            for method in methods
        ],
        before=f"{results.name}, {results.split}, {methods[0].loss_title}. "
        + _thickness_sentence(thickness, spacing_of(results.folder)),
        after=notes(results, results.split),
        warning=results.warning,
    )
    draw(results, methods, thickness, folder / f"sensitivity-{methods[0].loss}.png")


def measured_thickness(results: Results) -> float | None:
    """The median thickness over the truths of the first scored split, in pixels.

    Of volumes in the smallest sides of their voxels; None where their spacing is unknown.
    """
    spacing = spacing_of(results.folder)
    if results.configuration.spatial_dimensions == 3 and spacing is None:
        return None
    measured = [
        structure_thickness(truth != 0, spacing)
        for truth in truths(results.folder, results.split).values()
    ]
    return float(np.nanmedian(measured))


def _thickness_sentence(thickness: float | None, spacing: Sequence[float] | None) -> str:
    if thickness is None:
        return "Thickness of the structures: unknown, as the spacing of the voxels is."
    side = suggested_window(thickness)
    window = (side,) if spacing is None else window_per_axis(side, spacing)
    return (
        f"Thickness of the structures in the scored masks: {thickness:.1f} {unit_of(spacing)}; "
        f"suggested window: {as_text(window)}."
    )


def draw(results: Results, methods: list[Method], thickness: float | None, file: Path) -> None:
    """Every measure over the window; the plain loss as a level, the thickness as a line."""
    count = len(results.measures)
    with panels(file, 4.2 * count, 3.6, count) as (figure, all_axes):
        for axes, measure in zip(all_axes, results.measures, strict=True):
            for mode in MODES:
                shown = [method for method in methods if method.mode == mode]
                means = [results.mean(m, results.split, measure) for m in shown]
                style: dict[str, Any] = {"color": COLOURS[mode], "label": MODE_TITLES[mode]}
                if mode == "off":
                    for level in means:
                        axes.axhline(level, linestyle="--", **style)
                elif shown:
                    widths = [max(method.window) for method in shown]
                    axes.plot(widths, means, marker=MARKERS[mode], **style)
            axes.set_xticks(sorted({max(m.window) for m in methods if m.mode != "off"}))
            if thickness is not None:
                axes.axvline(thickness, color="#888888", linestyle=":", label="thickness")
            axes.set_xlabel("w, pixels")
            axes.set_title(TITLES[measure])
            axes.grid(alpha=0.3)
        all_axes[0].legend(fontsize=9)
        heading = f"{results.name}, {results.split}, {methods[0].loss_title}"
        title(figure, heading, results.warning)
