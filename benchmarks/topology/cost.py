"""`cost`: time and memory of every loss, and what SCNP adds to them (Tables B.1 and B.2)."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from matplotlib.axes import Axes

from benchmarks.common.pictures import picture
from benchmarks.common.tables import between, number, times, write_table
from benchmarks.harness.turns import Measured
from benchmarks.kernels.machine import load_average, machine_facts
from benchmarks.topology.errors import UsageError
from benchmarks.topology.iteration_cost import SCNP_FORMS, SUBJECTS, Shape, measure
from benchmarks.topology.losses import LOSSES
from benchmarks.topology.options import one_of, positive, sides
from benchmarks.topology.results import LOSS_TITLES

PAPER_SHAPES = ((2, 2, 1280, 1024), (2, 3, 160, 128, 112))  # Appendix B
REFERENCE = "ce_dice"
FORM_TITLES = {
    "listing": "on the paper's listing",
    "scnp": "on `scnp`",
    "SCNPDiceCELoss": "`SCNPDiceCELoss`",
}
NOTES = (
    "One forward and backward pass of the loss on the CPU, from given logits: no network. Median "
    "and, in brackets, quartiles. Memory: the most at once, beyond logits and labels; of tensors "
    "(the gradient of the logits among them) and, in losses that compute there, of NumPy's arrays. "
    "What C++ libraries allocate for themselves is not counted. TopoLoss with its own term."
)
LISTING_NOTE = "The listing takes its one-hot masks ready; making them is not counted."
MEBIBYTE = 1 << 20
FACTS = ("date", "CPU", "cores", "torch", "threads", "git revision", "load before", "load after")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cost`."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("topology_output/cost"), metavar="DIR", help="of tables")
    add(
        "--shapes",
        type=sides,
        nargs="+",
        default=PAPER_SHAPES,
        metavar="BxCx...",
        help="of the logits (the paper's: 2x2x1280x1024 2x3x160x128x112)",
    )
    add("--losses", type=one_of(LOSSES, "all"), default=tuple(LOSSES), help="all, or some")
    add("--kernel-size", type=positive, default=3, metavar="W", help="of SCNP (3)")
    add("--seconds", type=float, default=2.0, help="of measuring, per loss and shape (2)")
    add("--threads", type=positive, default=2, help="of each loss (2)")
    add("--one-process", action="store_true", help="to try it out: no processes of their own")


def run(options: argparse.Namespace) -> None:
    """Write cost-SHAPE.md, .csv and .png, and cost-scnp-SHAPE.md and .csv."""
    for shape in options.shapes:
        if len(shape) not in (4, 5) or shape[1] < 2:
            got = "x".join(map(str, shape))
            raise UsageError(f"--shapes: got {got}, takes BxCxHxW or BxCxDxHxW with C of 2 or more")
    if options.kernel_size % 2 == 0:
        raise UsageError(f"--kernel-size: got {options.kernel_size}, takes an odd number")
    subjects = [s for s in SUBJECTS if s in (*options.losses, REFERENCE, *SCNP_FORMS)]
    facts = machine_facts(options.threads)
    for shape in options.shapes:
        costs = measure(
            shape,
            subjects,
            options.kernel_size,
            options.seconds,
            options.threads,
            own_processes=not options.one_process,
            say=partial(print, flush=True),
        )
        facts["load after"] = load_average()
        machine = ", ".join(f"{name} {facts[name]}" for name in FACTS)
        by_subject = {cost.name: cost for cost in costs}
        write_costs(options.out, shape, by_subject, options.kernel_size, machine)
    print(f"Wrote {options.out}")


def write_costs(
    folder: Path, shape: Shape, costs: dict[str, Measured], kernel_size: int, machine: str
) -> None:
    """The tables and the picture of one shape; ``costs`` by subject."""
    name = "x".join(map(str, shape))
    reference = costs[REFERENCE]
    write_table(
        folder,
        f"cost-{name}",
        ("loss", "ms", "of CE+Dice", "tensors, MiB", "arrays, MiB"),
        [
            [
                LOSS_TITLES[loss],
                _time(costs[loss]),
                times(_milliseconds(costs[loss]) / _milliseconds(reference)),
                *(number(_mebibytes(costs[loss], of)) for of in ("tensors", "arrays")),
            ]
            for loss in LOSSES
            if loss in costs
        ],
        before=f"Logits {name}, float32.",
        after=f"{NOTES}\n\n{machine}.",
    )
    write_table(
        folder,
        f"cost-scnp-{name}",
        ("CE+Dice", "ms", "added ms", "tensors, MiB", "added MiB"),
        [["plain", _time(reference), "", number(_mebibytes(reference, "tensors")), ""]]
        + [[FORM_TITLES[form], *_added(costs[form], reference)] for form in SCNP_FORMS],
        before=f"Logits {name}, float32, w = {kernel_size}: what SCNP adds to CE+Dice.",
        after=f"{NOTES} {LISTING_NOTE}\n\n{machine}.",
    )
    draw(folder / f"cost-{name}.png", f"Logits {name}, w = {kernel_size}", costs)


def _milliseconds(cost: Measured) -> float:
    """The median of an iteration."""
    return 1e3 * median(sample.both for sample in cost.samples)


def _mebibytes(cost: Measured, of: str) -> float:
    """At most at once, of ``tensors`` or of ``arrays``."""
    return float(cost.prepared.facts[of]) / MEBIBYTE


def _time(cost: Measured) -> str:
    low, middle, high = quantiles([1e3 * sample.both for sample in cost.samples], n=4)
    return between(middle, low, high)


def _added(cost: Measured, reference: Measured) -> list[str]:
    """Time, what it is above the reference's, and likewise for tensors."""
    tensors = _mebibytes(cost, "tensors")
    added = tensors - _mebibytes(reference, "tensors")
    milliseconds = _milliseconds(cost) - _milliseconds(reference)
    return [_time(cost), number(milliseconds), number(tensors), number(added)]


def draw(file: Path, title: str, costs: dict[str, Measured]) -> None:
    """Time and memory of every loss and form of SCNP, on logarithmic axes."""
    subjects = [subject for subject in SUBJECTS if subject in costs]
    with picture(file, 9, 1.2 + 0.35 * len(subjects)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, [_milliseconds(costs[s]) for s in subjects], subjects, "ms per iteration")
        memory = [sum(_mebibytes(costs[s], of) for of in ("tensors", "arrays")) for s in subjects]
        _bars(right, memory, subjects, "MiB at most (tensors and arrays)")
        left.set_yticks(range(len(subjects)), [_title(subject) for subject in subjects])
        left.invert_yaxis()
        figure.suptitle(title)


def _bars(axes: Axes, values: list[float], subjects: list[str], label: str) -> None:
    colours = ["#E69F00" if subject in SCNP_FORMS else "#0072B2" for subject in subjects]
    bars = axes.barh(range(len(values)), values, color=colours)
    axes.bar_label(bars, [number(value) for value in values], padding=2, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 4)
    axes.set_xlabel(label)


def _title(subject: str) -> str:
    if subject not in SCNP_FORMS:
        return LOSS_TITLES[subject]
    return "CE+Dice " + FORM_TITLES[subject].replace("`", "")
