"""The tables of a run, as Markdown."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.common.tables import between, markdown, number, times
from benchmarks.kernels.bars import verdicts
from benchmarks.kernels.cases import (
    COPY,
    DICE_CE,
    FUSED,
    FUSED_FOCAL,
    FUSED_JOINT,
    FUSED_PLAIN,
    FUSED_TVERSKY,
    LISTING,
    LISTING_COMPILED,
    OURS,
    SCNP_DICE_CE,
    SHIFTED_COMPILED,
)
from benchmarks.kernels.headline import headline
from benchmarks.kernels.pictures import PICTURES
from benchmarks.kernels.results import (
    BACKWARD,
    BOTH,
    FORWARD,
    RECORDING,
    NotMeasuredError,
    Record,
    Results,
    ratio,
)

PEERS = (LISTING, LISTING_COMPILED, SHIFTED_COMPILED)
_NOTHING = "-"


def tables(results: Results, folder: Path, beside: Path) -> dict[str, str]:
    """Every block by name. Links lead from the folder `beside` to the results in `folder`."""
    return {
        "headline": headline(results),
        "bars": bars_table(results),
        "latency": latency_table(results),
        "speedup": speedup_table(results),
        "memory": memory_table(results),
        "loss": loss_table(results),
        "slices": slices_table(results),
        "machine": machine_table(results),
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
    rows = []
    for group in ("2D", "3D", "small"):
        for record in sorted(results.in_group(group), key=lambda r: r.milliseconds(BOTH)):
            measured = record.least_bytes is not None
            phases = (FORWARD, RECORDING, BACKWARD, BOTH) if measured else (BOTH,)
            cells = {phase: _time(record, phase) for phase in phases}
            speed = record.gigabytes_per_second(BOTH)
            rows.append(
                [
                    record.shape_name,
                    _bold(record, "copy of the logits" if _is_copy(record) else None),
                    *(cells.get(phase, "") for phase in (FORWARD, RECORDING, BACKWARD, BOTH)),
                    times(ratio(record, results.copy_beside(record), BOTH, FORWARD).of_medians),
                    _NOTHING if speed is None else number(speed),
                ]
            )
    return markdown(
        (
            *("shape", "implementation", "forward, no gradient wanted", "forward, remembering"),
            *("backward", "forward + backward, ms", "copies", "GB/s"),
        ),
        rows,
    )


def speedup_table(results: Results) -> str:
    """Every case that a peer was measured on: how many times longer the peer takes."""
    rows = []
    for ours in _everywhere(results, OURS):
        peers = [r for r in results.in_group(ours.group) if r.case == ours.case]
        ratios = {
            peer.implementation: [_speed_up(ratio(peer, ours, p).of_medians) for p in _RATIO_PHASES]
            for peer in peers
            if peer.implementation in PEERS
        }
        if ratios:
            nothing = [_NOTHING] * len(_RATIO_PHASES)
            cells = [" / ".join(ratios.get(peer, nothing)) for peer in PEERS]
            rows.append([ours.case_name, _time(ours, BOTH), *cells])
    return markdown(("case", "scnp, forward + backward, ms", *PEERS), rows)


_RATIO_PHASES = (FORWARD, BACKWARD, BOTH)


def memory_table(results: Results) -> str:
    """Bytes per logit on the two shapes of the paper."""
    rows = [
        [r.shape_name, _bold(r), f"{r.saved_per_logit:.2f}", f"{r.peak_per_logit:.2f}"]
        for group in ("2D", "3D")
        for r in sorted(results.in_group(group), key=lambda r: r.peak_per_logit)
        if r.saved_bytes is not None
    ]
    return markdown(
        ("shape", "implementation", "saved for backward, B per logit", "peak, B per logit"), rows
    )


def loss_table(results: Results) -> str:
    """Dice + cross entropy: time and memory, plain, on SCNP in two steps, and fused."""
    rows = []
    for group in ("loss 2D", "loss 3D", "loss classes"):
        records = [r for r in results.in_group(group) if r.saved_bytes is not None]
        for record in sorted(records, key=lambda r: (r.shape, r.milliseconds(BOTH))):
            plain = results.find(group, DICE_CE, shape=record.shape)
            rows.append(
                [
                    record.shape_name,
                    f"**{record.implementation}**"
                    if record.implementation in OUR_LOSSES
                    else record.implementation,
                    _time(record, FORWARD),
                    _time(record, BOTH),
                    times(ratio(record, plain, BOTH).of_medians),
                    f"{record.saved_per_logit:.2f}",
                    f"{record.peak_per_logit:.2f}",
                ]
            )
    return markdown(
        (
            *("shape", "loss", "forward, no gradient wanted", "forward + backward, ms"),
            *("against Dice+CE", "saved for backward, B per logit", "peak, B per logit"),
        ),
        rows,
    )


OUR_LOSSES = (SCNP_DICE_CE, FUSED, FUSED_JOINT, FUSED_PLAIN, FUSED_TVERSKY, FUSED_FOCAL)


def slices_table(results: Results) -> str:
    """How ours changes with one thing at a time."""
    rows = []
    for group in _SLICES:
        first: dict[tuple[int, ...], Record] = {}  # of every shape
        for record in results.in_group(group, OURS):
            base = first.setdefault(record.shape, record)
            speed = record.gigabytes_per_second(BOTH)
            rows.append(
                [
                    group,
                    record.case_name,
                    *(_time(record, phase) for phase in (FORWARD, BACKWARD, BOTH)),
                    _relative(record, base),
                    times(ratio(record, results.copy_beside(record), BOTH, FORWARD).of_medians),
                    _NOTHING if speed is None else number(speed),
                ]
            )
    return markdown(
        (
            *("question", "case", "forward", "backward", "forward + backward, ms"),
            *("against the first", "of a copy", "GB/s"),
        ),
        rows,
    )


_SLICES = ("2D windows", "3D windows", "2D dtypes", "3D dtypes", "targets", "layout", "threads")


def machine_table(results: Results) -> str:
    """Where it was measured."""
    return markdown(("", ""), ([name, value] for name, value in results.facts.items()))


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


def _is_copy(record: Record) -> bool:
    return record.implementation == COPY


def _bold(record: Record, name: str | None = None) -> str:
    name = name or record.implementation
    return f"**{name}**" if record.implementation == OURS else name
