"""`cost`: time and memory of every loss, and what SCNP adds to them (Tables B.1 and B.2)."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from matplotlib.axes import Axes

from benchmarks.common.errors import UsageError
from benchmarks.common.pictures import panels
from benchmarks.common.tables import between, by, number, times, write_table
from benchmarks.harness.turns import Measured
from benchmarks.kernels.machine import load_average, machine_facts
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
            raise UsageError(
                f"--shapes: got {by(shape)}, takes BxCxHxW or BxCxDxHxW with C of 2 or more"
            )
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
    name = by(shape)
    reference = costs[REFERENCE]
    write_table(
        folder,
        f"cost-{name}",
        [
            {
                "loss": LOSS_TITLES[loss],
                "ms": _time(costs[loss]),
                "of CE+Dice": times(_milliseconds(costs[loss]) / _milliseconds(reference)),
                "tensors, MiB": number(_mebibytes(costs[loss], "tensors")),
                "arrays, MiB": number(_mebibytes(costs[loss], "arrays")),
            }
            for loss in LOSSES
            if loss in costs
        ],
        before=f"Logits {name}, float32.",
        after=f"{NOTES}\n\n{machine}.",
    )
    write_table(
        folder,
        f"cost-scnp-{name}",
        [
            _added("plain", reference, None),
            *(_added(FORM_TITLES[form], costs[form], reference) for form in SCNP_FORMS),
        ],
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


def _added(title: str, cost: Measured, reference: Measured | None) -> dict[str, str]:
    """Time, what it is above the reference's, and likewise for tensors."""
    tensors = _mebibytes(cost, "tensors")
    milliseconds = mebibytes = ""
    if reference is not None:
        milliseconds = number(_milliseconds(cost) - _milliseconds(reference))
        mebibytes = number(tensors - _mebibytes(reference, "tensors"))
    return {
        "CE+Dice": title,
        "ms": _time(cost),
        "added ms": milliseconds,
        "tensors, MiB": number(tensors),
        "added MiB": mebibytes,
    }


def draw(file: Path, title: str, costs: dict[str, Measured]) -> None:
    """Time and memory of every loss and form of SCNP, on logarithmic axes."""
    subjects = [subject for subject in SUBJECTS if subject in costs]
    height = 1.2 + 0.35 * len(subjects)
    with panels(file, 9, height, 2, sharey=True) as (figure, (left, right)):
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
