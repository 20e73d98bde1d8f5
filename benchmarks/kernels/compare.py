"""Compare two installations of scnp_kernels, in turns: did a change make anything slower?

    python -m benchmarks.kernels.compare BEFORE AFTER [--groups 2D 3D] [--out FILE]

BEFORE and AFTER are interpreters, each of an environment where one version is installed. Every case
of ours in the groups of ``python -m benchmarks.kernels`` runs in both, call by call in turns, after
both have given the same bits. Prints medians of the ratios AFTER / BEFORE, round by round, with
their quartiles; below 1 the second one is faster. ``SCNP_CPU_CAPABILITY`` reaches both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.files import written_whole
from benchmarks.kernels.cases import FULL, FUSED, OURS, QUICK, Case, Shapes, groups
from benchmarks.kernels.machine import machine_facts

WORKER = Path(__file__).with_name("installed.py")
SHORTEST_SAMPLE = 2e-3  # seconds: shorter calls are repeated within a sample


class DifferentBitsError(Exception):
    """The two installations do not compute the same; the message says on which case."""


class Installation:
    """A process of one installation."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; raise RuntimeError if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def compare(before: str, after: str, case: Case, seconds: float) -> dict[str, list[float]]:
    """Return the ratios AFTER / BEFORE of every round, forward alone and with backward.

    Raises:
        DifferentBitsError: The results differ.
    """
    question = {
        "shape": case.shape,
        "kernel_size": case.kernel_size,
        "dtype": case.dtype_name,
        "channels_last": case.channels_last,
        "threads": case.threads or 2,
        "loss": case.of_loss,
    }
    pair = [Installation(before), Installation(after)]
    try:
        prepared = [one.ask({"case": question}) for one in pair]
        if prepared[0]["digest"] != prepared[1]["digest"]:
            raise DifferentBitsError(f"{case.name}: the two installations give different bits")
        duration = max(answer["forward"] + answer["both"] for answer in prepared)
        calls = max(1, round(SHORTEST_SAMPLE / duration))
        rounds = max(7, min(61, int(seconds / (2 * duration * calls))))
        ratios: dict[str, list[float]] = {"forward": [], "both": []}
        for index in range(rounds):
            # Who goes first alternates, so that neither always runs behind the other.
            order = (0, 1) if index % 2 == 0 else (1, 0)
            answers = {which: pair[which].ask({"calls": calls}) for which in order}
            for phase, values in ratios.items():
                values.append(answers[1][phase] / answers[0][phase])
        return ratios
    finally:
        for one in pair:
            one.close()


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
    facts = machine_facts(2)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    lines.append(f"SCNP_CPU_CAPABILITY: {os.environ.get('SCNP_CPU_CAPABILITY', 'not set')}")
    lines += ["", "| group | case | forward | forward + backward |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for group, case in cases(QUICK if options.quick else FULL, options.groups):
        try:
            ratios = compare(options.before, options.after, case, options.seconds)
        except DifferentBitsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        texts = [_text(ratios[phase]) for phase in ("forward", "both")]
        lines.append(f"| {group} | {case.name} | {texts[0]} | {texts[1]} |")
        print(lines[-1], flush=True)
    if options.out is not None:
        with written_whole(options.out) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _text(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
