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
_ALONE, _TOTAL = "forward, no gradient wanted", "forward + backward, ms"
_REMARKS = {OPENCV: " (forward alone)"}
_PASSES = {_ALONE: FORWARD, "forward, remembering": RECORDING, "backward": BACKWARD}
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
    records = (r for group in ("2D", "3D", "small") for r in _by_time(results.in_group(group)))
    return markdown_of(
        [
            {
                "shape": record.shape_name,
                "implementation": _name(record),
                **{
                    title: _time(record, phase) if record.has_gradient else ""
                    for title, phase in _PASSES.items()
                },
                _TOTAL: _time(record, BOTH) + _REMARKS.get(record.implementation, ""),
                "copies": _in_copies(record, results),
                "GB/s": _speed(record),
            }
            for record in records
        ]
    )


def speedup_table(results: Results) -> str:
    """Every case that a peer was measured on: how many times longer the peer takes."""
    rows: list[Row] = []
    for ours in _everywhere(results, OURS):
        peers = [r for r in _beside(results, ours) if r.implementation in PEERS]
        texts = {
            peer.implementation: " / ".join(_speed_up(peer, ours, p) for p in _RATIO_PHASES)
            for peer in peers
        }
        if texts:
            nothing = " / ".join([_NOTHING] * len(_RATIO_PHASES))
            row = {"case": ours.case_name, f"scnp, {_TOTAL}": _time(ours, BOTH)}
            rows.append(row | {peer: texts.get(peer, nothing) for peer in PEERS})
    return markdown_of(rows)


def memory_table(results: Results) -> str:
    """Bytes per logit on the two shapes of the paper."""
    return markdown_of(
        [
            {"shape": record.shape_name, "implementation": _name(record), **_memory(record)}
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
        for record in sorted(_by_time(records), key=lambda r: r.shape):
            plain = results.find(group, DICE_CE, shape=record.shape)
            rows.append(
                {
                    "shape": record.shape_name,
                    "loss": _name(record),
                    _ALONE: _time(record, FORWARD),
                    _TOTAL: _time(record, BOTH),
                    "against Dice+CE": times(ratio(record, plain, BOTH).of_medians),
                    **_memory(record),
                }
            )
    return markdown_of(rows)


def peers_table(results: Results) -> str:
    """Other libraries, and pooling in channels_last: how many times longer they take than ours."""
    shown = {"2D": (LISTING, OPENCV, SERRON, KORNIA), "pooling in channels_last": (LISTING,)}
    pairs = (
        (record, ours)
        for group, names in shown.items()
        for ours in results.in_group(group, OURS)
        for record in _by_time(_beside(results, ours))
        if record.implementation in names
    )
    rows = [
        {
            "case": record.case_name,
            "peer": record.implementation,
            f"{_ALONE}, ms": _time(record, FORWARD),
            _TOTAL: _time(record, BOTH) if record.has_gradient else _NOTHING,
            "times ours, forward": _speed_up(record, ours, FORWARD),
            "times ours, both": _speed_up(record, ours, BOTH) if record.has_gradient else _NOTHING,
            "what it does": _ABOUT.get(
                record.implementation, "pooling in channels_last" * record.channels_last
            ),
        }
        for record, ours in pairs
    ]
    missing = [f"{name}: not measured, {why}." for name, why in results.missing.items()]
    return "\n\n".join([markdown_of(rows), *missing])


def windows_table(results: Results) -> str:
    """Large windows in 3D: ours against w = 3, and how many times longer the peers take."""
    rows: list[Row] = []
    ours = results.in_group("3D windows, smaller image", OURS)
    for record in ours:
        others = {r.implementation: r for r in _beside(results, record)}
        row = {
            "case": record.case_name,
            f"scnp, {_TOTAL}": _time(record, BOTH),
            "against w = 3": _relative(record, ours[0]),
        }
        for name in (SEPARABLE_COMPILED, LISTING_COMPILED, LISTING):
            row[name] = _speed_up(others[name], record, BOTH) if name in others else _NOTHING
        rows.append(row)
    return markdown_of(rows)


def threads_table(results: Results) -> str:
    """Forward + backward by the number of threads, with the speed-up over one."""
    curves: dict[tuple[str, str], dict[int, Record]] = {}
    for record in results.in_group("threads"):
        if record.implementation != COPY:
            curve = curves.setdefault((record.shape_name, _name(record)), {})
            curve[record.threads or 1] = record
    rows: list[Row] = []
    for (shape, name), curve in curves.items():
        row = {"shape": shape, "": name}
        for count, record in sorted(curve.items()):
            faster = f", {_speed_up(curve[1], record, BOTH)}" if count > 1 else ""
            row[f"{count} thread{'s' * (count > 1)}, ms"] = _time(record, BOTH) + faster
        rows.append(row)
    return markdown_of(rows)


def classes_table(results: Results) -> str:
    """The fused loss as classes grow, for as many pixels: time per logit."""
    rows: list[Row] = []
    first: dict[int, Record] = {}  # by the number of axes
    for record in results.in_group("many classes", FUSED):
        fewest = first.setdefault(len(record.shape), record)
        rows.append(
            {
                "shape": record.shape_name,
                _ALONE: _time(record, FORWARD),
                _TOTAL: _time(record, BOTH),
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
                    _TOTAL: _time(record, BOTH),
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


def _beside(results: Results, record: Record) -> list[Record]:
    """Everything that was measured on the same case, in turns with it."""
    return [r for r in results.in_group(record.group) if r.case == record.case]


def _by_time(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.milliseconds(BOTH))


def _speed_up(slower: Record, faster: Record, phase: str) -> str:
    """How many times longer one takes; in bold where it does not, but is the faster one."""
    value = ratio(slower, faster, phase).of_medians
    return times(value) if value >= 1 else f"**{times(value)}**"


def _memory(record: Record) -> dict[str, str]:
    return {
        "saved for backward, B per logit": f"{record.saved_per_logit:.2f}",
        "peak, B per logit": f"{record.peak_per_logit:.2f}",
    }


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
