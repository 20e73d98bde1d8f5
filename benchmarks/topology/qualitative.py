"""`qualitative`: one image, its truth, and what CE+Dice, SCNP and joint make of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.common.files import written_whole
from benchmarks.common.images import BoolMask
from benchmarks.common.marks import Marks, find_marks
from benchmarks.common.panels import (
    RING_POINTS,
    Window,
    counted,
    legend,
    most_telling_window,
    show,
    show_segmentation,
    show_truth,
    stretched,
)
from benchmarks.topology.configuration import Configuration
from benchmarks.topology.datasets import Sample, read_pixels_to_show, read_split
from benchmarks.topology.errors import UsageError
from benchmarks.topology.measures import betti0_error, dice
from benchmarks.topology.options import add_results_arguments, report_folder
from benchmarks.topology.records import data_set_folders, truths
from benchmarks.topology.results import (
    LOSS_TITLES,
    MODE_TITLES,
    Method,
    Results,
    common_window,
    read_results,
)

Number = TypeVar("Number", bound=np.generic)

# 2D sections have no third axis to connect through: neighbours within the section, by those of 3D.
SECTION_CONNECTIVITY = {6: 4, 18: 8, 26: 8}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qualitative`."""
    add_results_arguments(parser)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="the data set's images")
    add("--loss", default="ce_dice", help="(ce_dice)")
    add("--seed", type=int, default=0, metavar="N", help="of the runs to show (0)")
    add("--image", metavar="NAME", help="(default: where SCNP lowers the Betti-0 error most)")


def run(options: argparse.Namespace) -> None:
    """Write qualitative-LOSS.png for the data set whose name --data has."""
    name = options.data.resolve().name
    folder = next((f for f in data_set_folders(options.out) if f.resolve().name == name), None)
    if folder is None:
        raise UsageError(f"--data: got {options.data}, of which {options.out} holds no run")
    results = read_results(folder)
    methods = methods_to_show(results, options.loss, options.seed)
    file = report_folder(options, folder) / f"qualitative-{options.loss}.png"
    draw(results, methods, options.seed, options.data, options.image, file)


def methods_to_show(results: Results, loss: str, seed: int) -> list[Method]:
    """Plain, SCNP and joint, as far as they are finished. Raises UsageError without the first."""
    window = common_window(results)
    wanted = [
        Method(loss, "off", (1,)),
        Method(loss, "on", window),
        Method(loss, "joint", window),
    ]
    found = [method for method in wanted if seed in results.runs.get(method, {})]
    if len(found) < 2 or found[0].mode != "off":
        raise UsageError(
            f"{results.folder}: --loss {loss}, --seed {seed}: needs finished runs without SCNP "
            "and with it"
        )
    return found


def draw(
    results: Results, methods: list[Method], seed: int, data: Path, image: str | None, file: Path
) -> None:
    """Image, truth, then one panel per method; of a volume its most telling section."""
    configuration = results.configuration
    split = configuration.tests[0]
    truth_maps = truths(results.folder)
    names = [key.split("/", 1)[1] for key in truth_maps if key.startswith(f"{split}/")]
    if image is not None and image not in names:
        raise UsageError(f"--image: got {image}, takes one of {', '.join(names)}")
    predicted = {method: results.runs[method][seed].predictions(truth_maps) for method in methods}
    masks = {
        name: {method: predicted[method][f"{split}/{name}"] != 0 for method in methods}
        for name in ([image] if image else names)
    }
    sections = [
        (name, index)
        for name in masks
        for index in (
            [None] if truth_maps[f"{split}/{name}"].ndim == 2 else _depths(truth_maps, split, name)
        )
    ]
    connectivity = SECTION_CONNECTIVITY.get(configuration.connectivity, configuration.connectivity)

    def fall(place: tuple[str, int | None]) -> float:
        truth = _section(truth_maps[f"{split}/{place[0]}"] != 0, place[1])
        errors = [
            betti0_error(_section(masks[place[0]][method], place[1]), truth, connectivity)
            for method in methods
        ]
        return float(errors[0] - np.mean(errors[1:]))

    name, depth = max(sections, key=fall)
    sample = _sample(configuration, data, split, name)
    truth = _section(sample.truth != 0, depth)
    predictions = {method: _section(masks[name][method], depth) for method in methods}
    marks = {
        method.mode: find_marks(prediction, truth) for method, prediction in predictions.items()
    }
    window = most_telling_window(truth.shape, marks, methods[0].mode)
    image_shown = read_pixels_to_show(data, split, name)  # [channels, *spatial]
    pixels = stretched(np.moveaxis(_section(image_shown, depth, channels=True), 0, -1))
    columns = max(2, len(methods))
    figure = Figure(
        figsize=(4.6 * columns, 1.8 + 2 * 4.4 * window.height / window.width),
        layout=ConstrainedLayoutEngine(h_pad=0.06),
    )
    FigureCanvasAgg(figure)
    (image_axes, truth_axes, *empty), method_axes = figure.subplots(2, columns)
    show(
        image_axes,
        "image",
        np.asarray(window.of(pixels if pixels.shape[-1] == 3 else pixels[..., 0])),
    )
    show_truth(truth_axes, truth, window)
    for axes, (method, prediction) in zip(method_axes, predictions.items(), strict=True):
        _draw_method(axes, results, method, prediction, truth, marks[method.mode], window)
    figure.suptitle(_title(results, seed, split, name, depth, image is None), fontsize=14)
    if empty:
        empty[0].axis("off")
        empty[0].legend(handles=legend(), loc="center", fontsize=13)
    else:
        figure.legend(handles=legend(), loc="outside lower center", ncols=3, fontsize=11)
    with written_whole(file) as temporary:
        figure.savefig(temporary, dpi=90)


def _draw_method(
    axes: Axes,
    results: Results,
    method: Method,
    prediction: BoolMask,
    truth: BoolMask,
    marks: Marks,
    window: Window,
) -> None:
    configuration = results.configuration
    connectivity = SECTION_CONNECTIVITY.get(configuration.connectivity, configuration.connectivity)
    title = (
        f"{LOSS_TITLES[method.loss]}, {MODE_TITLES[method.mode]}: Betti-0 error "
        f"{betti0_error(prediction, truth, connectivity)}, Dice {dice(prediction, truth):.3f}"
    )
    show_segmentation(axes, title, prediction, truth, marks, window)
    split = configuration.tests[0]
    means = ", ".join(
        f"{title_} {results.values(method, split, measure).mean():.{digits}f}"
        for measure, title_, digits in (("betti0_error", "Betti-0 error", 2), ("dice", "Dice", 3))
        if measure in configuration.measures
    )
    seeds = len(results.seeds(method))
    images = len(results.images(method, split))
    whole = configuration.spatial_dimensions == 2 or not configuration.tile
    scored = f"{images} {'images' if whole else 'cubes'}, {_counted(seeds, 'seed')}"
    axes.set_xlabel(
        f"{counted(marks)}\nmean of {scored}:\n{means}", fontsize=11, labelpad=RING_POINTS
    )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _title(
    results: Results, seed: int, split: str, name: str, depth: int | None, chosen: bool
) -> str:
    section = "" if depth is None else f", section {depth}"
    why = ", chosen because SCNP does best there beside the plain loss" if chosen else ""
    return f"{results.name}, seed {seed}: {split} image {name}{section}{why}"


def _sample(configuration: Configuration, data: Path, split: str, name: str) -> Sample:
    samples = read_split(
        data, split, classes=configuration.classes, mask_key=configuration.mask_key
    )
    for sample in samples:
        if sample.name == name:
            return sample
    raise UsageError(f"--data: got {data}, which has no image {name} in {split}")


def _depths(truth_maps: Mapping[str, npt.NDArray[np.uint8]], split: str, name: str) -> range:
    return range(truth_maps[f"{split}/{name}"].shape[0])


def _section(
    array: npt.NDArray[Number], depth: int | None, channels: bool = False
) -> npt.NDArray[Number]:
    """The array itself, or one section of a volume."""
    if depth is None:
        return array
    section: npt.NDArray[Number] = array[:, depth] if channels else array[depth]
    return section
