"""Runs every property test on many new examples: ``python -m tests.stress.fuzz``, or ``make fuzz``.

The seed is printed, and the same seed and number draw the same examples again:
``make fuzz SEED=123 EXAMPLES=50000 PYTEST_OPTIONS="-k test_equals_brute_force"``.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import re
import sys
import time
from pathlib import Path

import pytest

from tests.hypothesis_profiles import FUZZ_VARIABLE, QUICK

CHECKOUT = Path(__file__).parents[2]
FILES = (
    "tests/contract/test_algebra.py",
    "tests/stress/test_malformed_calls.py",
    "tests/stress/test_raw_operators.py",
)
# How often they draw the profile's number, on two backends each; one of them five times as often.
DRAWS = 2 * (18 + 5 + 1 + 1 + 1)
DRAWN = re.compile(r"during generate phase.*?(\d+) passing.*?(\d+) failing", re.DOTALL)


class CountExamples:
    """A pytest plugin that adds up what hypothesis drew."""

    def __init__(self) -> None:
        self.properties = 0
        self.passing = 0
        self.failing = 0

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        found = DRAWN.search(getattr(item, "hypothesis_statistics", ""))
        if found is not None:
            self.properties += 1
            self.passing += int(found[1])
            self.failing += int(found[2])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=None)
    arguments, options = parser.parse_known_args()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    # A little more, since what hypothesis throws away does not count.
    os.environ[FUZZ_VARIABLE] = str(max(QUICK, math.ceil(1.02 * arguments.examples / DRAWS)))
    again = f"make fuzz SEED={seed} EXAMPLES={arguments.examples}"
    print(f"fuzz: seed {seed}; to repeat: {again}", flush=True)
    counter = CountExamples()
    started = time.monotonic()
    files = [str(CHECKOUT / file) for file in FILES]
    drawing = ["--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}"]
    status = pytest.main(["-q", *drawing, *files, *options], [counter])
    whole = not options
    enough = counter.passing >= arguments.examples or not whole
    print(
        f"fuzz: {counter.passing:,} examples passed, {counter.failing:,} failed, of "
        f"{counter.properties} properties, in {time.monotonic() - started:.0f} s; "
        f"seed {seed}; to repeat: {again}"
    )
    if not enough:
        print(f"fuzz: fewer than the {arguments.examples:,} examples asked for")
    return 0 if status == 0 and enough else 1


if __name__ == "__main__":
    sys.exit(main())
