"""How many examples the property tests draw: few and always the same, or many and new (fuzzing)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# How many times as many as usual; set by tests/stress/fuzz.py, which also chooses the seed.
TIMES_VARIABLE = "SCNP_TEST_EXAMPLES_TIMES"
PER_PROPERTY = 200


def fuzzing() -> bool:
    return TIMES_VARIABLE in os.environ


def examples(usual: int) -> settings:
    """The settings of a property that usually draws this many examples."""
    times = float(os.environ.get(TIMES_VARIABLE, "1"))
    return settings(
        max_examples=round(usual * times),
        derandomize=not fuzzing(),
        deadline=None,
        database=None,
        print_blob=fuzzing(),
        suppress_health_check=[HealthCheck.too_slow],
    )
