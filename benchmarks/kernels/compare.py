"""Compare two installations of scnp_kernels, in turns: did a change make anything slower?

    python -m benchmarks.kernels.compare BEFORE AFTER [--groups 2D 3D] [--out FILE]

BEFORE and AFTER are interpreters, each of an environment where one version is installed, with no
need of anything but it and torch. Every case of ours in the groups of ``python -m
benchmarks.kernels`` runs in both, call by call in turns, after both have given the same bits.
Prints medians of the ratios AFTER / BEFORE, round by round, with their quartiles; below 1 the
second one is faster. ``SCNP_CPU_CAPABILITY`` reaches both. With ``--bars`` it says, too, how AFTER
stands to what the kernels for lower instruction sets had to gain over version 0.1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from benchmarks.common.files import write_text
from benchmarks.common.tables import markdown
from benchmarks.harness.case import Case
from benchmarks.harness.turns import Effort, Measured, measure
from benchmarks.kernels.cases import FULL, FUSED, OURS, QUICK, Shapes, groups
from benchmarks.kernels.machine import machine_facts, past_cache_bytes
from benchmarks.kernels.measure import Installed

THREADS = 2
# The most of the time before that each may take, by the instruction set: group, of the loss?
GAINS = {
    "avx2": (("2D", False, 0.55), ("3D", False, 0.7), ("2D", True, 0.6), ("3D", True, 0.6)),
    "portable": (("2D", True, 0.6), ("3D", True, 0.6)),
}
HEADER = ("group", "case", "forward", "forward + backward")


class DifferentBitsError(Exception):
    """The two installations do not compute the same; the message says on which case."""


def compare(before: str, after: str, case: Case, seconds: float) -> dict[str, list[float]]:
    """Return the ratios AFTER / BEFORE of every round, forward alone and with backward.

    Raises:
        DifferentBitsError: The results differ.
    """
    begin = partial(Installed, past_cache_bytes())
    digests: set[str] = set()

    def told(measured: Measured) -> None:
        digests.add(measured.prepared.facts["digest"])
        if len(digests) > 1:
            raise DifferentBitsError(f"{case.name}: the two installations give different bits")

    members = [(case, "before"), (case, "after")]
    effort = Effort(seconds / 2, least_rounds=7, most_rounds=61)
    pythons = {"before": before, "after": after}
    first, second = measure(members, begin, effort, THREADS, told, python_of=pythons.get)
    ratios: dict[str, list[float]] = {"forward": [], "both": []}
    for index in sorted(set(first.rounds) & set(second.rounds)):
        pair = [one.samples[one.rounds.index(index)] for one in (first, second)]
        for phase, values in ratios.items():
            values.append(getattr(pair[1], phase) / getattr(pair[0], phase))
    return ratios


def cases(shapes: Shapes, names: Sequence[str] | None) -> Iterator[tuple[str, Case]]:
    """Every case of ours, with the name of its group; none twice, none with masks for a target."""
    seen = set()
    for group in groups(shapes):
        if names is not None and group.name not in names:
            continue
        for case, implementations in group.members:
            is_ours = OURS in implementations or FUSED in implementations
            if is_ours and case.target == "labels" and case not in seen:
                seen.add(case)
                yield group.name, case


def gains(capability: str, medians: Mapping[tuple[str, bool], float]) -> Iterator[str]:
    """Say of each bar whether it is reached, by the medians of w = 3 in float32.

    Those are of forward + backward, by the shape's group and whether it is of the loss.
    """
    for group, of_loss, limit in GAINS.get(capability, ()):
        found, mark, measured = medians.get((group, of_loss)), "-", "not measured"
        if found is not None:
            mark, measured = "reached" if found <= limit else "MISSED", f"{found:.3f}x"
        name = FUSED if of_loss else OURS
        yield f"{mark:>8}  {group}, {name}, against BEFORE: {measured}, bar ≤ {limit:g}x"


def main() -> int:
    """Print the table; return 1 if the bits differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels.compare")
    parser.add_argument("before", help="interpreter of the environment of the first version")
    parser.add_argument("after", help="interpreter of the environment of the second version")
    parser.add_argument("--groups", nargs="+", choices=[group.name for group in groups(FULL)])
    parser.add_argument("--seconds", type=float, default=4.0, help="per case (default: 4)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: does it work?")
    parser.add_argument("--bars", action="store_true", help="judge AFTER by the gains asked of it")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    facts = machine_facts(THREADS)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    lines.append(f"SCNP_CPU_CAPABILITY: {os.environ.get('SCNP_CPU_CAPABILITY', 'not set')}")
    lines += ["", *markdown(HEADER, []).splitlines()]
    print("\n".join(lines), flush=True)
    medians: dict[tuple[str, bool], float] = {}
    for group, case in cases(QUICK if options.quick else FULL, options.groups):
        try:
            ratios = compare(options.before, options.after, case, options.seconds)
        except DifferentBitsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        row = (group, case.name, _text(ratios["forward"]), _text(ratios["both"]))
        lines.append(markdown(HEADER, [row]).splitlines()[-1])
        print(lines[-1], flush=True)
        medians.setdefault((group.removeprefix("loss "), case.of_loss), median(ratios["both"]))
    if options.bars:
        told = list(gains(facts["CPU capability of the kernels"], medians))
        print(*told, sep="\n")
        lines += ["", *told]
    if options.out is not None:
        write_text(options.out, "\n".join(lines))
    return 0


def _text(ratios: list[float]) -> str:
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
