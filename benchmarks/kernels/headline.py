"""The few figures that the README begins with, of every stored run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.common.tables import markdown_of, number
from benchmarks.kernels.cases import (
    DICE_CE,
    DICE_CE_COMPILED,
    FUSED,
    FUSED_JOINT,
    LISTING,
    LISTING_COMPILED,
    OURS,
    SCNP_DICE_CE,
)
from benchmarks.kernels.results import BOTH, NotMeasuredError, Record, Results


class Figure(NamedTuple):
    """One row: ours in a group, and what it is compared with, by what that is called."""

    title: str
    group: str
    ours: str
    peers: dict[str, str]
    text_of: Callable[[Record], str]


def headline(runs: Sequence[Results]) -> str:
    """Time and memory against the listing and the plain loss by run; then the machines."""
    several = len(runs) > 1
    rows = []
    for figure in _FIGURES:
        try:
            found = [[run.find(figure.group, name) for name in _names(figure)] for run in runs]
        except NotMeasuredError:  # a run of some groups
            continue
        row = {"forward + backward, float32": figure.title.format(shape=found[0][0].shape_name)}
        for run, (ours, *peers) in zip(runs, found, strict=True):
            kernels = f", {run.capability.upper()}" if several else ""
            texts = [
                f"{called}: {figure.text_of(peer)}"
                for called, peer in zip(figure.peers, peers, strict=True)
            ]
            row[f"this package{kernels}"] = f"**{figure.text_of(ours)}**"
            row[f"compared with{kernels}"] = "; ".join(texts)
        rows.append(row)
    machines = " ".join(f"{_machine(run, several)}." for run in runs)
    return f"{markdown_of(rows)}\n\n<sub>{machines}</sub>"


def _names(figure: Figure) -> Iterable[str]:
    return figure.ours, *figure.peers.values()


def _machine(run: Results, several: bool) -> str:
    facts = run.facts
    kernels, torch = run.capability.upper(), facts["CPU capability of torch"].upper()
    where = f"{kernels}: {facts['CPU']}" if several else f"{facts['CPU']}, {kernels}"
    if kernels != torch:  # a lower instruction set than the machine's was asked for
        where += f" (torch with {torch})"
    return f"{where}, {facts['threads']} threads, torch {facts['torch']}, {facts['date'][:10]}"


def _time(record: Record) -> str:
    return f"{number(record.milliseconds(BOTH))} ms"


def _kept(record: Record) -> str:
    return f"{number(record.saved_per_logit)} B"


_ALONE = {"the paper's listing": LISTING, "torch.compile": LISTING_COMPILED}
_LOSSES = {"without SCNP, plain PyTorch": DICE_CE, "torch.compile": DICE_CE_COMPILED}
_WITHOUT = {"without SCNP": DICE_CE}
_ON_SCNP = "Dice + cross entropy on SCNP, fused, {shape}"
_JOINT = "the same jointly (`plain_weight=1`), {shape}"
_AROUND = "`SCNPLoss` around that of plain PyTorch, {shape}"
_FIGURES = (
    Figure("SCNP, {shape}", "2D", OURS, _ALONE, _time),
    Figure("SCNP, {shape}", "3D", OURS, _ALONE, _time),
    Figure(_ON_SCNP, "loss 2D", FUSED, _LOSSES, _time),
    Figure(_JOINT, "loss 2D", FUSED_JOINT, _LOSSES, _time),
    Figure(_AROUND, "loss 2D", SCNP_DICE_CE, _WITHOUT, _time),
    Figure(_ON_SCNP, "loss 3D", FUSED, _LOSSES, _time),
    Figure("kept for the backward pass, per logit, in 2D", "2D", OURS, _ALONE, _kept),
)
