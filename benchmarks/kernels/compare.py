"""Compare two installations of scnp_kernels, in turns: did a change make anything slower?

    python -m benchmarks.kernels.compare BEFORE AFTER [--groups 2D 3D] [--out FILE]

BEFORE and AFTER are interpreters, each of an environment where one version is installed, with no
need of anything but it and torch. Every case of ours in the groups of ``python -m
benchmarks.kernels`` runs in both, call by call in turns, after both have given the same bits.
Prints medians of the ratios AFTER / BEFORE, round by round, with their quartiles; below 1 the
second one is faster. ``SCNP_CPU_CAPABILITY`` reaches both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.common.files import write_text
from benchmarks.common.tables import markdown
from benchmarks.harness.case import Case
from benchmarks.harness.turns import Effort, Measured, measure
from benchmarks.kernels.cases import FULL, FUSED, OURS, QUICK, Shapes, groups
from benchmarks.kernels.machine import machine_facts, past_cache_bytes
from benchmarks.kernels.measure import Installed

THREADS = 2
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


def main() -> int:
    """Print the table; return 1 if the bits differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels.compare")
    parser.add_argument("before", help="interpreter of the environment of the first version")
    parser.add_argument("after", help="interpreter of the environment of the second version")
    parser.add_argument("--groups", nargs="+", choices=[group.name for group in groups(FULL)])
    parser.add_argument("--seconds", type=float, default=4.0, help="per case (default: 4)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: does it work?")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    lines = [f"{name}: {value}" for name, value in machine_facts(THREADS).items()]
    lines.append(f"SCNP_CPU_CAPABILITY: {os.environ.get('SCNP_CPU_CAPABILITY', 'not set')}")
    lines += ["", *markdown(HEADER, []).splitlines()]
    print("\n".join(lines), flush=True)
    for group, case in cases(QUICK if options.quick else FULL, options.groups):
        try:
            ratios = compare(options.before, options.after, case, options.seconds)
        except DifferentBitsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        row = (group, case.name, _text(ratios["forward"]), _text(ratios["both"]))
        lines.append(markdown(HEADER, [row]).splitlines()[-1])
        print(lines[-1], flush=True)
    if options.out is not None:
        write_text(options.out, "\n".join(lines))
    return 0


def _text(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
