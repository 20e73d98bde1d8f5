"""The rows of a run as one page of Markdown, the most telling first.

    python -m tests.gpu.day.report build/gpu_report

puts the page of a killed run together again. It may be called at any time: whatever is known by
then stands in it, and whether the run goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import rows, tables
from benchmarks.gpu.rows import Row

PAGE = "report.md"
RUN = "run.jsonl"
LETTERS = "abcde"
MOST_LINES = 60  # of one reason on the page; the rows have it whole
MOST_NAMES = 12  # of tests that failed for the same reason
TAIL = 25  # lines of a log


def write(folder: Path) -> None:
    """Put the page together; a reader never sees half of it."""
    new = folder / f"{PAGE}.new"
    new.write_text("\n".join(page(folder)) + "\n", encoding="utf-8")
    new.replace(folder / PAGE)


def page(folder: Path) -> list[str]:
    """Return the lines of the page."""
    run = rows.read(folder / RUN)
    of_stages = {letter: rows.read(folder / f"{letter}.jsonl") for letter in LETTERS}
    started = next((row for row in run if row["kind"] == "run"), {})
    facts = {row["name"]: row["value"] for row in of_stages["a"] if row["kind"] == "fact"}
    checks = {letter: _checks(found) for letter, found in of_stages.items()}
    card = facts.get("GPU", "an unknown machine")
    heading = f"# scnp_kernels on {card}"
    if started.get("rehearsal"):
        heading = f"# A rehearsal without a GPU: {started['rehearsal']} in Triton's place"
    return [
        heading, "",
        *_state(run, [row["time"] for found in of_stages.values() for row in found]), "",
        *_stages(run, checks, of_stages["e"]),
        *_failures(checks),
        *_unended(checks),
        *_programs(folder, run),
        *tables.sections(of_stages["e"]),
        *_skipped(checks),
        "## Machine", "",
        *(f"- {name}: {value}" for name, value in facts.items()),
    ]  # fmt: skip


def failed(folder: Path) -> int:
    """Return how many checks, measurements and programs did not do what they should."""
    run = rows.read(folder / RUN)
    count = sum(1 for row in run if row["kind"] == "program" and _went_wrong(row))
    for letter in LETTERS:
        found = rows.read(folder / f"{letter}.jsonl")
        told = [*_checks(found), *tables.last_of_each(found)]
        count += sum(1 for row in told if row["state"] in ("failed", "started"))
    return count


def _state(run: Sequence[Row], times: Sequence[float]) -> list[str]:
    """Whether the run has ended. A killed one cannot say so: it never said "end"."""
    if not run:
        return ["**There is no run here.**"]
    last = run[-1]
    if last["kind"] == "end" and last["state"] == "finished":
        return [f"Finished in {last['seconds']:.0f} s."]
    if last["kind"] == "end":
        return [f"**Not finished: {last['state']} after {last['seconds']:.0f} s.**"]
    stage = next((row["stage"] for row in reversed(run) if row["kind"] == "stage"), "a")
    seconds = max(*(row["time"] for row in run), *times, 0) - run[0]["time"]
    return [
        f"**Not finished.** Stage {stage} was running {seconds:.0f} s after the start, when the "
        "last row was written. If nothing runs any more, the run was killed there: what follows "
        "is what was known by then."
    ]


def _checks(found: Sequence[Row]) -> list[Row]:
    """What is known last of each check; of several reasons the first one, which is the true one."""
    known: dict[tuple[str, str], Row] = {}
    for row in found:
        if row["kind"] != "check":
            continue
        key = (row.get("program", ""), row["name"])
        if known.get(key, row)["state"] == "failed":
            row = known.get(key, row)
        known[key] = row
    return list(known.values())


def _stages(run: Sequence[Row], checks: dict[str, list[Row]], of_e: Sequence[Row]) -> list[str]:
    """A line for each stage."""
    titles = {row["stage"]: row for row in run if row["kind"] == "stage"}
    ends = {row["stage"]: row for row in run if row["kind"] == "stage end"}
    lines = []
    for letter in LETTERS:
        if letter not in titles:
            lines.append([letter, "", "not begun", "", "", "", "", ""])
            continue
        found = checks[letter] + (tables.last_of_each(of_e) if letter == "e" else [])
        states = [row["state"] for row in found]
        end = ends.get(letter)
        count = {name: str(states.count(name)) for name in ("failed", "skipped", "started")}
        passed = str(states.count("passed") + states.count("measured"))
        lines.append(
            [
                letter,
                titles[letter]["title"],
                end["state"] if end else "**running, or killed**",
                passed,
                f"**{count['failed']}**" if count["failed"] != "0" else "0",
                count["started"],
                count["skipped"],
                f"{end['seconds']:.0f} of {titles[letter]['limit']:.0f}" if end else "",
            ]
        )
    heads = ["stage", "what", "state", "passed", "failed", "never ended", "skipped", "seconds"]
    return tables.table(heads, lines)


def _failures(checks: dict[str, list[Row]]) -> list[str]:
    """Every failed check with its whole reason; those of the same cause stand together."""
    by_cause: dict[str, list[tuple[str, str]]] = {}
    for letter, row in _of_state(checks, "failed"):
        named = (row["reason"].strip(), f"stage {letter}: {row['name']}")
        by_cause.setdefault(_cause(row["reason"]), []).append(named)
    lines = ["## What failed", ""] if by_cause else []
    for cause, alike in by_cause.items():
        names = [name for _, name in alike]
        whole = alike[0][0].splitlines()
        lines += [f"### {len(names)}: {cause}", "", *_named(names)]
        lines += ["", "```", *whole[:MOST_LINES], "```", ""]
    return lines


def _unended(checks: dict[str, list[Row]]) -> list[str]:
    """Checks that began: they hung, or their process was ended, or they run as this is written."""
    names = [f"stage {letter}: {row['name']}" for letter, row in _of_state(checks, "started")]
    return ["## What began and has not ended", "", *_named(names), ""] if names else []


def _of_state(checks: dict[str, list[Row]], state: str) -> list[tuple[str, Row]]:
    return [(letter, row) for letter in checks for row in checks[letter] if row["state"] == state]


def _named(names: Sequence[str]) -> list[str]:
    lines = [f"- `{name}`" for name in names[:MOST_NAMES]]
    more = len(names) - MOST_NAMES
    return [*lines, f"- and {more} more, in the stage's rows"] if more > 0 else lines


def _cause(reason: str) -> str:
    """The line that names the error: pytest marks it with an E."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines or ["no reason was given"])[0].replace("`", "'")


def _went_wrong(row: Row) -> bool:
    """pytest ends with 1, and a measurement with 3, where single ones failed: these are told.

    So does a Python program that cannot even import what it needs: of that no row tells.
    """
    good = (0, 1, 3) if row["has_failed_rows"] else (0,)
    ended_well = row["state"] == "ended" and row["status"] in good
    return not ended_well and not row["stopped_on_purpose"]


def has_failed_rows(folder: Path, letter: str, program: str) -> bool:
    """Does a row tell of a failure in this program?"""
    of_program = (
        row
        for row in rows.read(folder / f"{letter}.jsonl")
        if row.get("program", program) == program
    )
    return any(row.get("state") == "failed" for row in of_program)


def _programs(folder: Path, run: Sequence[Row]) -> list[str]:
    """Programs that were ended, or ended as they should not, with the last of their logs."""
    lines = []
    for row in run:
        if row["kind"] != "program" or not _went_wrong(row):
            continue
        how = f"ended with status {row['status']}"
        if row["state"] != "ended":
            how = f"was ended at its limit of {row['limit']:.0f} s"
        if row["state"] == "would not die":
            how += ", and would not die"
        log = folder / row["log"]
        tail = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        lines += [f"### Stage {row['stage']}, {row['name']}: {how}", "", "```"]
        lines += [*tail.splitlines()[-TAIL:], "```", ""]
    return ["## Programs that did not come to their end", "", *lines] if lines else []


def _skipped(checks: dict[str, list[Row]]) -> list[str]:
    lines = [
        f"- `{row['name']}`: {row['reason']}"
        for found in checks.values()
        for row in found
        if row["state"] == "skipped"
    ]
    return ["## Skipped", "", *lines, ""] if lines else []


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    print(f"Wrote {Path(sys.argv[1]) / PAGE}")
