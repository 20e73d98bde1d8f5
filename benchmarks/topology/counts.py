"""`counts`: how many pieces and holes the predictions have, beside the truth: broken, or merged?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from benchmarks.common.tables import Table, write_table
from benchmarks.topology.datasets import Labels
from benchmarks.topology.options import Reports
from benchmarks.topology.records import truths
from benchmarks.topology.results import Results
from scnp_kernels.metrics import betti_numbers

# What Betti numbers count, by the dimensions of the data.
COUNTED = {2: ("pieces", "holes"), 3: ("pieces", "tunnels", "cavities")}
AREA = {2: "pixels", 3: "voxels"}


def run(_options: object, found: Reports) -> None:
    """Write counts-SPLIT.md and .csv of every scored split."""
    for results, folder in found:
        for split in results.configuration.tests:
            write_table(
                folder,
                f"counts-{split}",
                rows(results, split),
                before=f"{results.name}, {split}: what the foreground has on average, in the truth "
                "and as predicted, without post-processing.",
                after=f"By {results.configuration.connectivity} neighbours, all classes of the "
                "foreground together; means over sound seeds and images. Errors cancel in these "
                "counts: they tell whether a method breaks and merges, and not how often it is "
                "wrong.",
                warning=results.warning,
            )


def rows(results: Results, split: str) -> Table:
    """The truth, then a row per method."""
    truth = truths(results.folder, split)
    dimensions = results.configuration.spatial_dimensions
    connectivity = results.configuration.connectivity
    columns = (*COUNTED[dimensions], AREA[dimensions])

    def row(name: str, seeds: object, counts: npt.NDArray[np.float64]) -> dict[str, object]:
        digits = [2] * len(COUNTED[dimensions]) + [0]
        texts = [f"{count:.{d}f}" for count, d in zip(counts, digits, strict=False)]
        return {"": name, "seeds": seeds, **dict(zip_longest(columns, texts, fillvalue=""))}

    table = [row("truth", "", mean_counts(truth, truth, connectivity))]
    for method in results.methods():
        seeds = results.sound(method, split)
        counts = [
            mean_counts(results.runs[method][seed].predictions(truth), truth, connectivity)
            for seed in seeds
        ]
        mean = np.mean(counts, axis=0) if seeds else np.empty(0)
        table.append(row(method.title, results.counted(method, split), mean))
    return table


def mean_counts(
    label_maps: Mapping[str, Labels], wanted: Iterable[str], connectivity: int
) -> npt.NDArray[np.float64]:
    """Betti numbers and the size of the foreground, averaged over the label maps ``wanted``."""
    of_images = np.array(
        [
            [
                *betti_numbers(label_maps[key] != 0, connectivity=connectivity),
                np.count_nonzero(label_maps[key]),
            ]
            for key in wanted
        ],
        np.float64,
    )
    mean: npt.NDArray[np.float64] = of_images.mean(axis=0)
    return mean
