"""`cost`: time and memory of every loss, and what SCNP adds to them (Tables B.1 and B.2)."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.common.pictures import picture
from benchmarks.kernels.machine import load_average, machine_facts
from benchmarks.kernels.wording import number, times
from benchmarks.topology.errors import UsageError
from benchmarks.topology.iteration_cost import SCNP_FORMS, SUBJECTS, Cost, Shape, measure
from benchmarks.topology.losses import LOSSES
from benchmarks.topology.options import one_of, positive, sides
from benchmarks.topology.results import LOSS_TITLES
from benchmarks.topology.tables import write_table

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
    costs = measure(
        options.shapes,
        subjects,
        options.kernel_size,
        options.seconds,
        options.threads,
        own_processes=not options.one_process,
        say=lambda line: print(line, flush=True),
    )
    facts["load after"] = load_average()
    machine = ", ".join(f"{name} {facts[name]}" for name in FACTS)
    for shape in options.shapes:
        of_shape = {cost.subject: cost for cost in costs if cost.shape == shape}
        write_costs(options.out, shape, of_shape, options.kernel_size, machine)
    print(f"Wrote {options.out}")


def write_costs(
    folder: Path, shape: Shape, costs: dict[str, Cost], kernel_size: int, machine: str
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
                times(_ratio(costs[loss], reference)),
                *_mebibytes(costs[loss]),
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
        [["plain", _time(reference), "", _mebibytes(reference)[0], ""]]
        + [[FORM_TITLES[form], *_added(costs[form], reference)] for form in SCNP_FORMS],
        before=f"Logits {name}, float32, w = {kernel_size}: what SCNP adds to CE+Dice.",
        after=f"{NOTES} {LISTING_NOTE}\n\n{machine}.",
    )
    draw(folder / f"cost-{name}.png", f"Logits {name}, w = {kernel_size}", costs)


def _time(cost: Cost) -> str:
    low, middle, high = map(number, cost.milliseconds())
    return f"{middle} ({low} to {high})"


def _ratio(cost: Cost, reference: Cost) -> float:
    return cost.milliseconds()[1] / reference.milliseconds()[1]


def _mebibytes(cost: Cost) -> list[str]:
    return [number(cost.tensors / MEBIBYTE), number(cost.arrays / MEBIBYTE)]


def _added(cost: Cost, reference: Cost) -> list[str]:
    """Time, what it is above the reference's, and likewise for tensors."""
    milliseconds = cost.milliseconds()[1] - reference.milliseconds()[1]
    mebibytes = (cost.tensors - reference.tensors) / MEBIBYTE
    return [_time(cost), number(milliseconds), _mebibytes(cost)[0], number(mebibytes)]


def draw(file: Path, title: str, costs: dict[str, Cost]) -> None:
    """Time and memory of every loss and form of SCNP, on logarithmic axes."""
    subjects = [subject for subject in SUBJECTS if subject in costs]
    with picture(file, 9, 1.2 + 0.35 * len(subjects)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, [costs[s].milliseconds()[1] for s in subjects], subjects, "ms per iteration")
        memory = [(costs[s].tensors + costs[s].arrays) / MEBIBYTE for s in subjects]
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
