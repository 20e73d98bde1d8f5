"""The tables of runs, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common.tables import Row, between, markdown, markdown_of, number, times
from benchmarks.kernels.bars import verdicts
from benchmarks.kernels.cases import (
    COPY,
    DICE_CE,
    FUSED,
    KORNIA,
    LISTING,
    LISTING_COMPILED,
    OPENCV,
    OUR_LOSSES,
    OURS,
    PEERS,
    SEPARABLE_COMPILED,
    SERRON,
)
from benchmarks.kernels.headline import headline
from benchmarks.kernels.pictures import PICTURES
from benchmarks.kernels.results import (
    BACKWARD,
    BOTH,
    CAPABILITIES,
    FORWARD,
    RECORDING,
    NotMeasuredError,
    Record,
    Results,
    per_logit,
    ratio,
)

_NOTHING = "-"
_RATIO_PHASES = (FORWARD, BACKWARD, BOTH)
_SLICES = ("2D windows", "3D windows", "2D dtypes", "3D dtypes", "targets", "layout")
# What peers of other libraries do, so that nobody takes their times for more than they are.
_ABOUT = {
    OPENCV: "two planes for each one; reads no labels, has no gradient (beside our forward pass)",
    SERRON: "its erosion and dilation in place of the listing's pooling",
    KORNIA: "its erosion and dilation in place of the listing's pooling",
}


def blocks(runs: Mapping[Path, Results], beside: Path) -> dict[str, str]:
    """Every block by name, for a page in the folder ``beside``; runs by their folder.

    The tables of the first run, and under NAME-CAPABILITY those of the run whose kernels used that
    instruction set.
    """
    of_runs = {run.capability: tables(run, folder, beside) for folder, run in runs.items()}
    first = next(iter(of_runs.values()))
    every = list(runs.values())
    found = {**first, "headline": headline(every), "machine": machine_table(every)}
    for capability in CAPABILITIES:
        missing = f"No whole run of the kernels for {capability.upper()} is stored yet."
        of_run = of_runs.get(capability, dict.fromkeys(first, missing))
        found |= {f"{name}-{capability}": table for name, table in of_run.items()}
    return found


def tables(results: Results, folder: Path, beside: Path) -> dict[str, str]:
    """Every table of one run by name. Links lead from ``beside`` to the results in ``folder``."""
    return {
        "headline": headline([results]),
        "bars": bars_table(results),
        "latency": latency_table(results),
        "speedup": speedup_table(results),
        "memory": memory_table(results),
        "loss": loss_table(results),
        "peers": peers_table(results),
        "windows": windows_table(results),
        "threads": threads_table(results),
        "classes": classes_table(results),
        "slices": slices_table(results),
        "machine": machine_table([results]),
        "pictures": picture_links(folder, beside),
    }


def bars_table(results: Results) -> str:
    """What has to be reached, and what is."""
    answers = {True: "yes", False: "**no**", None: _NOTHING}
    return markdown(
        ("", "bar", "ratio of medians (median of ratios)", "reached"),
        ([v.bar, v.limit, v.measured, answers[v.reached]] for v in verdicts(results)),
    )


def latency_table(results: Results) -> str:
    """The two shapes of the paper, and a small one: every phase of everything."""
    rows: list[Row] = []
    for group in ("2D", "3D", "small"):
        for record in sorted(results.in_group(group), key=lambda r: r.milliseconds(BOTH)):
            measured = record.has_gradient
            once = record.implementation == OPENCV
            rows.append(
                {
                    "shape": record.shape_name,
                    "implementation": _name(record),
                    "forward, no gradient wanted": _time(record, FORWARD) if measured else "",
                    "forward, remembering": _time(record, RECORDING) if measured else "",
                    "backward": _time(record, BACKWARD) if measured else "",
                    "forward + backward, ms": _time(record, BOTH) + " (forward alone)" * once,
                    "copies": _in_copies(record, results),
                    "GB/s": _speed(record),
                }
            )
    return markdown_of(rows)


def speedup_table(results: Results) -> str:
    """Every case that a peer was measured on: how many times longer the peer takes."""
    rows: list[Row] = []
    for ours in _everywhere(results, OURS):
        peers = [r for r in results.in_group(ours.group) if r.case == ours.case]
        ratios = {
            peer.implementation: [_speed_up(ratio(peer, ours, p).of_medians) for p in _RATIO_PHASES]
            for peer in peers
            if peer.implementation in PEERS
        }
        if ratios:
            nothing = [_NOTHING] * len(_RATIO_PHASES)
            rows.append(
                {
                    "case": ours.case_name,
                    "scnp, forward + backward, ms": _time(ours, BOTH),
                    **{peer: " / ".join(ratios.get(peer, nothing)) for peer in PEERS},
                }
            )
    return markdown_of(rows)


def memory_table(results: Results) -> str:
    """Bytes per logit on the two shapes of the paper."""
    return markdown_of(
        [
            {
                "shape": record.shape_name,
                "implementation": _name(record),
                "saved for backward, B per logit": f"{record.saved_per_logit:.2f}",
                "peak, B per logit": f"{record.peak_per_logit:.2f}",
            }
            for group in ("2D", "3D")
            for record in sorted(results.in_group(group), key=lambda r: r.peak_per_logit)
            if record.has_gradient
        ]
    )


def loss_table(results: Results) -> str:
    """Dice + cross entropy: time and memory, plain, on SCNP in two steps, and fused."""
    rows: list[Row] = []
    for group in ("loss 2D", "loss 3D", "loss classes"):
        records = [r for r in results.in_group(group) if r.has_gradient]
        for record in sorted(records, key=lambda r: (r.shape, r.milliseconds(BOTH))):
            plain = results.find(group, DICE_CE, shape=record.shape)
            rows.append(
                {
                    "shape": record.shape_name,
                    "loss": _name(record),
                    "forward, no gradient wanted": _time(record, FORWARD),
                    "forward + backward, ms": _time(record, BOTH),
                    "against Dice+CE": times(ratio(record, plain, BOTH).of_medians),
                    "saved for backward, B per logit": f"{record.saved_per_logit:.2f}",
                    "peak, B per logit": f"{record.peak_per_logit:.2f}",
                }
            )
    return markdown_of(rows)


def peers_table(results: Results) -> str:
    """Other libraries, and pooling in channels_last: how many times longer they take than ours."""
    rows: list[Row] = []
    for group, names in (
        ("2D", (LISTING, OPENCV, SERRON, KORNIA)),
        ("pooling in channels_last", (LISTING,)),
    ):
        for ours in results.in_group(group, OURS):
            of_case = [r for r in results.in_group(group) if r.case == ours.case]
            for record in (r for name in names for r in of_case if r.implementation == name):
                layout = "torch's pooling in channels_last" if record.channels_last else ""
                both = ratio(record, ours, BOTH) if record.has_gradient else None
                rows.append(
                    {
                        "case": record.case_name,
                        "peer": record.implementation,
                        "forward, no gradient wanted, ms": _time(record, FORWARD),
                        "forward + backward, ms": _time(record, BOTH) if both else _NOTHING,
                        "times ours, forward": _speed_up(ratio(record, ours, FORWARD).of_medians),
                        "times ours, both": _speed_up(both.of_medians) if both else _NOTHING,
                        "what it does": _ABOUT.get(record.implementation, layout),
                    }
                )
    missing = [f"{name}: not measured, {why}." for name, why in results.missing.items()]
    return "\n\n".join([markdown_of(rows), *missing])


def windows_table(results: Results) -> str:
    """Large windows in 3D: ours against w = 3, and how many times longer the peers take."""
    rows: list[Row] = []
    group, peers = "3D windows, smaller image", (SEPARABLE_COMPILED, LISTING_COMPILED, LISTING)
    ours = results.in_group(group, OURS)
    for record in ours:
        others = {r.implementation: r for r in results.in_group(group) if r.case == record.case}
        rows.append(
            {
                "case": record.case_name,
                "scnp, forward + backward, ms": _time(record, BOTH),
                "against w = 3": _relative(record, ours[0]),
                **{
                    name: _speed_up(ratio(others[name], record, BOTH).of_medians)
                    if name in others
                    else _NOTHING
                    for name in peers
                },
            }
        )
    return markdown_of(rows)


def threads_table(results: Results) -> str:
    """Forward + backward by the number of threads, with the speed-up over one."""
    curves: dict[tuple[str, str], dict[int, Record]] = {}
    for record in results.in_group("threads"):
        if record.implementation != COPY:
            curve = curves.setdefault((record.shape_name, _name(record)), {})
            curve[record.threads or 1] = record
    return markdown_of(
        [
            {"shape": shape, "": name}
            | {
                f"{count} thread{'s' * (count > 1)}, ms": _time(record, BOTH)
                + (f", {times(ratio(curve[1], record, BOTH).of_medians)}" if count > 1 else "")
                for count, record in sorted(curve.items())
            }
            for (shape, name), curve in curves.items()
        ]
    )


def classes_table(results: Results) -> str:
    """The fused loss as classes grow, for as many pixels: time per logit."""
    rows: list[Row] = []
    first: dict[int, Record] = {}  # by the number of axes
    for record in results.in_group("many classes", FUSED):
        fewest = first.setdefault(len(record.shape), record)
        rows.append(
            {
                "shape": record.shape_name,
                "forward, no gradient wanted": _time(record, FORWARD),
                "forward + backward, ms": _time(record, BOTH),
                "ns per logit": number(record.milliseconds(BOTH) * 1e6 / record.logits),
                "per logit, against the fewest classes": times(
                    per_logit(record, fewest).of_medians
                ),
            }
        )
    return markdown_of(rows)


def slices_table(results: Results) -> str:
    """How ours changes with one thing at a time."""
    rows: list[Row] = []
    for group in _SLICES:
        first: dict[tuple[int, ...], Record] = {}  # of every shape
        for record in results.in_group(group, OURS):
            rows.append(
                {
                    "question": group,
                    "case": record.case_name,
                    "forward": _time(record, FORWARD),
                    "backward": _time(record, BACKWARD),
                    "forward + backward, ms": _time(record, BOTH),
                    "against the first": _relative(record, first.setdefault(record.shape, record)),
                    "of a copy": _in_copies(record, results),
                    "GB/s": _speed(record),
                }
            )
    return markdown_of(rows)


def machine_table(runs: Sequence[Results]) -> str:
    """Where it was measured, a column for each run."""
    titles = [run.capability.upper() for run in runs] if len(runs) > 1 else [""]
    names = dict.fromkeys(name for run in runs for name in run.facts)
    return markdown(
        ("", *titles), ([name, *(run.facts.get(name, "") for run in runs)] for name in names)
    )


def picture_links(folder: Path, beside: Path) -> str:
    """The pictures, as seen from the folder of the file that shows them."""
    where = Path(os.path.relpath(folder, beside)).as_posix()
    return "\n\n".join(f"![{title}]({where}/{name})" for name, title in PICTURES.items())


def _everywhere(results: Results, implementation: str) -> list[Record]:
    """Each case once, from the first group that has it."""
    records: dict[str, Record] = {}
    for record in results.records:
        if record.implementation == implementation:
            records.setdefault(record.case, record)
    return list(records.values())


def _speed_up(value: float) -> str:
    """Times that ours is faster; below one it is slower, and says so."""
    return times(value) if value >= 1 else f"**{times(value)}**"


def _relative(record: Record, base: Record) -> str:
    if record is base:
        return "1"
    try:
        found = ratio(record, base, BOTH)
    except NotMeasuredError:
        return _NOTHING
    return f"{times(found.of_medians)} ({times(found.median_of_rounds)})"


def _time(record: Record, phase: str) -> str:
    return between(record.milliseconds(phase), *record.quartiles(phase))


def _in_copies(record: Record, results: Results) -> str:
    """The time in copies of the logits."""
    return times(ratio(record, results.copy_beside(record), BOTH, FORWARD).of_medians)


def _speed(record: Record) -> str:
    speed = record.gigabytes_per_second(BOTH)
    return _NOTHING if speed is None else number(speed)


def _name(record: Record) -> str:
    """The implementation, in bold if it is one of ours that users call."""
    name = "copy of the logits" if record.implementation == COPY else record.implementation
    return f"**{name}**" if record.implementation in (OURS, *OUR_LOSSES) else name
