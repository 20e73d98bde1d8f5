"""The measured rows as tables of Markdown, and the goals that they are held to. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common.tables import markdown
from benchmarks.gpu.rows import Row

# The goals: each pass within this many times the least that must move, at the card's own rate.
MOST_OVER_FLOOR = 1.5
COPY, OURS = "copy of the logits", "scnp"
PLAIN = ("plain", "plain compiled")
MEBIBYTE = 2**20
# On an A10, as the paper's Appendix B tells it, a forward pass.
PAPER = "the paper on an A10: 2D +0.70 ms and +340 MiB, 3D +0.55 ms and +454 MiB"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, and an empty line after it."""
    if not lines:
        return ["Nothing was measured.", ""]
    return [*markdown(heads, lines).splitlines(), ""]


def last_of_each(rows: Sequence[Row]) -> list[Row]:
    """Return what is known last of each measurement, in the order in which they began."""
    known: dict[str, Row] = {}
    for row in rows:
        if row.get("kind") == "measurement":
            known[row["name"]] = row
    return list(known.values())


def sections(rows: Sequence[Row]) -> list[str]:
    """Return all tables of the measurements, the goals first."""
    found = last_of_each(rows)

    def by_table(name: str) -> list[Row]:
        return [row for row in found if row["table"] == name]

    alone, losses = _measured(by_table("scnp alone")), _measured(by_table("losses"))
    return [
        "## Goals", "", *goals(alone, losses),
        "## scnp alone", "", *_alone(alone),
        "## Dice + cross entropy", "", *_losses(losses),
        "## One training step in mixed precision", "", *_steps(by_table("training step")),
        "## Counters", "", *_counters(by_table("counters")),
        *_left_out(found),
    ]  # fmt: skip


def _measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["state"] == "measured"]


def _over_floor(row: Row, alone: Sequence[Row], way: str) -> float | None:
    """The time of the forward or backward pass over that of its least bytes at a copy's rate.

    That of the copy of the same logits, in bytes in a millisecond.
    """
    rates = {copy["case"]: copy["bytes_per_ms"] for copy in alone if copy["implementation"] == COPY}
    if row["case"] not in rates or f"least_{way}" not in row:
        return None
    return float(row[f"{way}_ms"] * rates[row["case"]] / row[f"least_{way}"])


def _against_plain(row: Row, losses: Sequence[Row]) -> float | None:
    """The time of a loss over that of the faster plain one on the same case."""
    of_case = [other for other in losses if other["case"] == row["case"]]
    plain = [other["both_ms"] for other in of_case if other["implementation"] in PLAIN]
    return float(row["both_ms"] / min(plain)) if plain else None


def goals(alone: Sequence[Row], losses: Sequence[Row]) -> list[str]:
    """Return each goal with what was found, and whether it is reached."""
    lines = []
    for row in (row for row in alone if row["implementation"] == OURS):
        for way in ("forward", "backward"):
            over = _over_floor(row, alone, way)
            if over is not None:
                reached = "yes" if over <= MOST_OVER_FLOOR else "**no**"
                goal = f"within {MOST_OVER_FLOOR}x of the floor of bytes"
                lines.append([f"{_short(row['case'])}, {way}", goal, f"{over:.2f}x", reached])
    for row in (row for row in losses if row["implementation"] == "fused"):
        ratio = _against_plain(row, losses)
        if ratio is not None:
            reached = "yes" if ratio < 1 else "**no**"
            goal = "the fused loss below plain Dice + cross entropy, the faster of two"
            lines.append([_short(row["case"]), goal, f"{ratio:.2f}x", reached])
    return table(["", "goal", "found", "reached"], lines)


def _alone(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        name = row["implementation"]
        if name == COPY:
            rate = row["bytes_per_ms"] / 1e6
            lines.append([_short(row["case"]), name, _range(row, "both_ms"), f"{rate:.0f}",
                          *[""] * 8])  # fmt: skip
            continue
        cells = [_short(row["case"]), f"**{name} {row['backend']}**" if name == OURS else name]
        for way in ("forward", "backward"):
            over = _over_floor(row, rows, way)
            rate = row[f"least_{way}"] / row[f"{way}_ms"] / 1e6
            share = "" if over is None else f"{over:.2f}x"
            cells += [_range(row, f"{way}_ms"), f"{rate:.0f}", share]
        cells += [f"{row['host_ms']:.3f}"]
        cells += [_mebibytes(row[key]) for key in ("forward_peak", "kept", "backward_peak")]
        lines.append(cells)
    heads = ["case", "", "forward, ms", "GB/s", "over the floor", "backward, ms", "GB/s"]
    heads += ["over the floor", "launching, ms", "forward's peak, MiB", "kept, MiB"]
    heads += ["backward's peak, MiB"]
    return [
        f"Medians, with the middle eight tenths in brackets; {PAPER}. GB/s: the least bytes that "
        "must move over the time. Over the floor: the time over that of the least bytes at the "
        "rate of a copy on this card. Memory: tensors beyond inputs, result and gradient.",
        "",
        *table(heads, lines),
    ]


def _losses(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        name, ratio = row["implementation"], _against_plain(row, rows)
        cells = [_short(row["case"]), f"**{name}**" if name.startswith("fused") else name]
        cells += [_range(row, "both_ms"), "" if ratio is None else f"{ratio:.2f}x"]
        cells += [f"{row['forward_ms']:.3f}", f"{row['backward_ms']:.3f}", f"{row['host_ms']:.3f}"]
        cells += [_mebibytes(row[key]) for key in ("forward_peak", "kept", "backward_peak")]
        lines.append(cells)
    heads = ["case", "loss", "forward + backward, ms", "against plain, the faster"]
    heads += ["forward", "backward", "launching", "forward's peak, MiB", "kept", "backward's peak"]
    return table(heads, lines)


def _steps(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        for loss in row.get("losses", ()):
            if "reason" in loss:
                lines.append([row["case"], loss["loss"], "failed", loss["reason"], "", ""])
                continue
            added = f"{_range(loss, 'added_ms')}, {loss['added_ms'] / _plain_step(row):+.1%}"
            lines.append([row["case"], loss["loss"], _range(loss, "step_ms"), added,
                          _mebibytes(loss["peak"]), _mebibytes(loss["added_bytes"])])  # fmt: skip
    heads = ["network", "loss", "step, ms", "added to plain, ms", "peak, MiB", "added, MiB"]
    return table(heads, lines)


def _plain_step(row: Row) -> float:
    return next(float(loss["step_ms"]) for loss in row["losses"] if loss["loss"] == "plain")


def _counters(rows: Sequence[Row]) -> list[str]:
    kernels = [kernel for row in rows for kernel in row.get("kernels", ())]
    keys = ("sectors_over_least", "predicted_sectors_over_least", "dram_over_least",
            "registers", "predicted_registers", "occupancy", "predicted_occupancy",
            "achieved_occupancy", "microseconds")  # fmt: skip
    lines = [
        [kernel["kernel"], kernel["launched"], *(_number(kernel.get(key)) for key in keys)]
        for kernel in kernels
    ]
    reasons = [row["reason"] for row in rows if row["state"] == "not there"]
    if reasons:
        return [f"Not there: {reason}." for reason in reasons] + [""]
    heads = ["kernel", "launched", "sectors over the least", "predicted", "DRAM over the least"]
    heads += ["registers", "predicted", "occupancy, %", "predicted", "achieved, %", "µs"]
    return table(heads, lines)


def _left_out(rows: Sequence[Row]) -> list[str]:
    """What has no time, and why."""
    lines = [
        [row["name"], row["state"] if row["state"] != "started" else "ended its process",
         row.get("reason") or "see the log"]
        for row in rows
        if row["state"] in ("failed", "started")
    ]  # fmt: skip
    missing = [row["name"] for row in rows if row["state"] == "not reached"]
    result = []
    if lines:
        result += ["## What could not be measured", ""]
        result += table(
            ["", "", "reason"], [[cell.replace("\n", " ") for cell in line] for line in lines]
        )
    if missing:
        result += [f"Not reached when the time was up: {len(missing)}, from {missing[0]} on.", ""]
    return result


def _short(case: str) -> str:
    return case.replace("-labels", "").replace("-loss", "")


def _range(row: Row, key: str) -> str:
    return f"{row[key]:.3f} ({row[f'{key}_low']:.3f} to {row[f'{key}_high']:.3f})"


def _mebibytes(count: float | None) -> str:
    return "" if count is None else f"{count / MEBIBYTE:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
