"""`qualitative`: one image, its truth, and what CE+Dice, SCNP and joint make of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.common.errors import UsageError
from benchmarks.common.images import BoolMask
from benchmarks.common.marks import find_marks
from benchmarks.common.panels import (
    RING_POINTS,
    counted,
    legend,
    most_telling_window,
    show,
    show_segmentation,
    show_truth,
    stretched,
)
from benchmarks.common.pictures import grow, picture
from benchmarks.common.pictures import title as head
from benchmarks.topology.datasets import Labels, Planes, read_pixels_to_show
from benchmarks.topology.measures import betti0_error, betti_matching_error, dice
from benchmarks.topology.options import Reports
from benchmarks.topology.postprocessing import Postprocessing
from benchmarks.topology.records import truths
from benchmarks.topology.results import Method, Results, common_window

DPI = 90
WITHIN = (0.005, 0.01, 0.99, 0.985)  # what matplotlib lays out reaches a little beyond it
CAPTION = 48  # letters in a line below a panel
CAPTION_POINTS = 11
USUAL_LINES = 3  # below a panel
# 2D sections have no third axis to connect through: neighbours within the section, by those of 3D.
SECTION_CONNECTIVITY = {6: 4, 18: 8, 26: 8}
# Why an image or a section is shown, by whether the usual one was asked for.
WHY = {
    False: ", chosen because SCNP does best there beside the plain loss",
    True: ", where SCNP changes the Betti-0 error by the median",
}

Place = tuple[str, int | None]  # an image; of a volume, a section


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qualitative`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="the data set's images")
    add("--loss", default="ce_dice", help="(ce_dice)")
    add("--seed", type=int, default=0, metavar="N", help="of the runs to show (0)")
    add("--image", metavar="NAME", help="(default: where SCNP lowers the Betti-0 error most)")


def run(options: argparse.Namespace, found: Reports) -> None:
    """Write qualitative-LOSS.png for the data set whose name --data has."""
    name = options.data.resolve().name
    of_data = (pair for pair in found if pair[0].folder.resolve().name == name)
    results, folder = next(of_data, (None, None))
    if results is None or folder is None:
        raise UsageError(f"--data: got {options.data}, of which {options.out} holds no run")
    methods = methods_to_show(results, options.loss, options.seed, common_window(results))
    file = folder / f"qualitative-{options.loss}.png"
    pixels_of = partial(read_pixels_to_show, options.data)
    draw(results, methods, options.seed, options.image, pixels_of, file)


def methods_to_show(
    results: Results, loss: str, seed: int, window: tuple[int, ...]
) -> list[Method]:
    """Plain, SCNP and joint, as far as they are finished. Raises UsageError without the first."""
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
    results: Results,
    methods: list[Method],
    seed: int,
    image: str | None,
    pixels_of: Callable[[str, str], Planes],
    file: Path,
    beside: Callable[[Axes], None] | None = None,
    treatment: Postprocessing | None = None,
    usual: bool = False,
) -> None:
    """Image, truth, then one panel per method; of a volume one section.

    Without an ``image`` to show, it is the image or section where SCNP lowers the Betti-0 error
    most, or where it changes it by the median, if that is ``usual``; where trainings collapsed, so
    that nothing can be compared, the one with the most foreground.

    ``pixels_of`` a split's image are what is shown of it; ``beside`` draws on the third panel of
    the first row, which holds the legend otherwise. A last panel shows the first method after the
    ``treatment``; then all panels tell the Betti-matching error, too.
    """
    split = results.split
    connectivity = results.configuration.connectivity
    connectivity = SECTION_CONNECTIVITY.get(connectivity, connectivity)
    label_maps = truths(results.folder, split)
    truths_of = {key.split("/", 1)[1]: label_map != 0 for key, label_map in label_maps.items()}
    if image is not None and image not in truths_of:
        raise UsageError(f"--image: got {image}, takes one of {', '.join(truths_of)}")
    predicted = {method: results.runs[method][seed].predictions(label_maps) for method in methods}
    collapsed = {m: what for m in methods if (what := results.collapsed(m, split).get(seed))}
    telling = methods[0] not in collapsed and len(collapsed) < len(methods) - 1

    def predictions_at(name: str, depth: int | None) -> dict[Method, BoolMask]:
        return {m: _section(maps[f"{split}/{name}"] != 0, depth) for m, maps in predicted.items()}

    def fall(place: Place) -> float:
        truth = _section(truths_of[place[0]], place[1])
        errors = [
            betti0_error(prediction, truth, connectivity)
            for method, prediction in predictions_at(*place).items()
            if method not in collapsed
        ]
        return float(errors[0] - np.mean(errors[1:]))

    places = _places({image: truths_of[image]} if image else truths_of)  # the largest first
    if telling and len(places) > 1:
        falls = np.array([fall(place) for place in places])
        wanted = np.sort(falls)[len(falls) // 2] if usual else falls.max()
        name, depth = places[int(np.isclose(falls, wanted).argmax())]
    else:
        name, depth = places[0]
    truth = _section(truths_of[name], depth)
    predictions = predictions_at(name, depth)
    marks = {method.mode: find_marks(shown, truth) for method, shown in predictions.items()}
    window = most_telling_window(truth.shape, marks, methods[0].mode)
    treated = (
        _section(_treated(results, methods[0], seed, f"{split}/{name}", treatment) != 0, depth)
        if treatment
        else None
    )
    planes = pixels_of(split, name)  # [channels, *spatial]
    pixels = stretched(np.moveaxis(planes if depth is None else planes[:, depth], 0, -1))
    columns = max(2, len(methods) + (treatment is not None))
    height = 1.8 + 2 * 4.4 * window.height / window.width
    with picture(
        file,
        4.6 * columns,
        height,
        dpi=DPI,
        layout=ConstrainedLayoutEngine(h_pad=0.06, rect=WITHIN),
    ) as figure:
        (image_axes, truth_axes, *third), method_axes = figure.subplots(2, columns)
        shown = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
        show(image_axes, "image", np.asarray(window.of(shown)))
        show_truth(truth_axes, truth, window)
        captions: list[tuple[Axes, str]] = []
        for axes, (method, prediction) in zip(method_axes, predictions.items(), strict=False):
            error = betti0_error(prediction, truth, connectivity)
            title = (
                f"{method.loss_title}, {method.mode_title}: Betti-0 error {error}, "
                f"Dice {dice(prediction, truth):.3f}"
            )
            if method in collapsed:
                title = f"{method.loss_title}, {method.mode_title}: found {collapsed[method]}"
            show_segmentation(axes, title, prediction, truth, marks[method.mode], window)
            below = f"{counted(marks[method.mode])}\n{_means(results, method, split)}"
            if treatment is not None:
                matching = betti_matching_error(prediction, truth, connectivity=connectivity)
                below = f"Betti-matching error {matching}\n{below}"
            captions.append((axes, below))
        if treated is not None and treatment is not None:
            found = find_marks(treated, truth)
            error = betti0_error(treated, truth, connectivity)
            title = f"{methods[0].mode_title}, post-processed: Betti-0 error {error}, "
            title += f"Dice {dice(treated, truth):.3f}"
            show_segmentation(method_axes[-1], title, treated, truth, found, window)
            matching = betti_matching_error(treated, truth, connectivity=connectivity)
            below = f"Betti-matching error {matching}\n{counted(found)}\n"
            treated_how = treatment.described(results.configuration.spatial_dimensions)
            below += fill(f"chosen on the validation images: {treated_how}", CAPTION)
            captions.append((method_axes[-1], below))
        for axes, below in captions:
            axes.set_xlabel(below, fontsize=CAPTION_POINTS, labelpad=RING_POINTS)
        lines = max(below.count("\n") + 1 for _, below in captions)
        grow(figure, max(0, lines - USUAL_LINES), CAPTION_POINTS)
        why = WHY[usual] if image is None and telling else ""
        heading = _title(results, seed, split, name, depth, why)
        head(figure, heading, results.warning, 14)
        for blank in third[beside is not None :]:
            blank.axis("off")
        if third and beside is None:
            third[0].legend(handles=legend(), loc="center", fontsize=13)
        else:
            figure.legend(handles=legend(), loc="outside lower center", ncols=3, fontsize=11)
        if third and beside is not None:
            beside(third[0])
            third[0].set_box_aspect(1)  # as tall as the images beside it


def _treated(
    results: Results, method: Method, seed: int, key: str, treatment: Postprocessing
) -> Labels:
    """One prediction, post-processed."""
    record = results.runs[method][seed]
    truth = {key: truths(results.folder, results.split)[key]}
    probabilities = record.probabilities(truth)[key] if treatment.cuts else None
    neighbours = results.configuration.connectivity
    return treatment.apply(record.predictions(truth)[key], probabilities, neighbours)


def _means(results: Results, method: Method, split: str) -> str:
    if not results.sound(method, split):
        return str(results.counted(method, split))
    means = ", ".join(
        f"{title} {results.mean(method, split, measure):.{digits}f}"
        for measure, title, digits in (("betti0_error", "Betti-0 error", 2), ("dice", "Dice", 3))
        if measure in results.measures
    )
    seeds = results.counted(method, split)
    count = results.scored(split)
    scored = f"{count} {results.scored_as(split, count)}"
    scored += f", {seeds}" + ("" if isinstance(seeds, str) else f" seed{'' if seeds == 1 else 's'}")
    return f"mean of {scored}:\n{means}"


def _title(results: Results, seed: int, split: str, name: str, depth: int | None, why: str) -> str:
    section = "" if depth is None else f", section {depth}"
    return f"{results.name}, seed {seed}: {split} image {name}{section}{why}"


def _places(truths_of: Mapping[str, BoolMask]) -> list[Place]:
    """Images, or sections of volumes, the ones with the most foreground first.

    Those without any are left out, unless all are: nothing could be seen in them but mistakes.
    """
    foreground = {
        (name, depth): int(_section(truth, depth).sum())
        for name, truth in truths_of.items()
        for depth in _depths(truth)
    }
    places = sorted(foreground, key=lambda place: -foreground[place])
    return [place for place in places if foreground[place]] or places


def _depths(truth: BoolMask) -> Iterable[int | None]:
    """The sections of a volume; of an image itself."""
    return [None] if truth.ndim == 2 else range(truth.shape[0])


def _section(mask: BoolMask, depth: int | None) -> BoolMask:
    return mask if depth is None else mask[depth]
