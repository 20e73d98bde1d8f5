"""The few figures that the README begins with."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.common.tables import number
from benchmarks.kernels.cases import (
    DICE_CE,
    DICE_CE_COMPILED,
    FUSED,
    LISTING,
    LISTING_COMPILED,
    OURS,
)
from benchmarks.kernels.results import BOTH, NotMeasuredError, Record, Results


def headline(results: Results) -> str:
    """Return time and memory against the listing and the plain loss; then the machine."""
    facts = results.facts
    lines = [
        "| forward + backward, float32 | this package | without it |",
        "|---|---|---|",
        *_rows(results),
        "",
        f"<sub>{facts['CPU']}, {facts['CPU capability of the kernels'].upper()}, "
        f"{facts['threads']} threads, torch {facts['torch']}, {facts['date'][:10]}.</sub>",
    ]
    return "\n".join(lines)


def _rows(results: Results) -> Iterable[str]:
    """The rows of what was measured."""
    for group in ("2D", "3D"):
        ours, listing, compiled = _found(results, group, OURS, LISTING, LISTING_COMPILED)
        if ours and listing and compiled:
            yield (
                f"| SCNP, {ours.shape_name} | {_time(ours)} | the paper's listing: "
                f"{_time(listing)}; compiled: {_time(compiled)} |"
            )
    for group in ("loss 2D", "loss 3D"):
        ours, plain, compiled = _found(results, group, FUSED, DICE_CE, DICE_CE_COMPILED)
        if ours and plain and compiled:
            yield (
                f"| Dice + cross entropy on SCNP, {ours.shape_name} | {_time(ours)} | the same "
                f"without SCNP: {_time(plain)}; compiled: {_time(compiled)} |"
            )
    ours, listing, compiled = _found(results, "2D", OURS, LISTING, LISTING_COMPILED)
    if ours and listing and compiled:
        yield (
            f"| kept for the backward pass, per logit | {_kept(ours)} | the paper's listing: "
            f"{_kept(listing)}; compiled: {_kept(compiled)} |"
        )


def _found(results: Results, group: str, *implementations: str) -> list[Record | None]:
    """The group's records of the implementations; None for what a run of some groups left out."""
    found: list[Record | None] = []
    for implementation in implementations:
        try:
            found.append(results.find(group, implementation))
        except NotMeasuredError:
            found.append(None)
    return found


def _time(record: Record) -> str:
    return _bold(record, f"{number(record.milliseconds(BOTH))} ms")


def _kept(record: Record) -> str:
    return _bold(record, f"{number(record.saved_per_logit)} B")


def _bold(record: Record, text: str) -> str:
    return f"**{text}**" if record.implementation in (OURS, FUSED) else text
