"""How many examples the property tests draw: `quick`, few and always the same; `fuzz`, many, new.

``make test`` runs the first profile, ``make fuzz`` the second. No test states a number of its own.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

QUICK = 100  # of each property
FUZZ_VARIABLE = "SCNP_FUZZ_EXAMPLES"  # as many under `fuzz`; set by tests/stress/fuzz.py
SLOW = [HealthCheck.too_slow]


def register() -> None:
    """Register both profiles, and begin with `quick`."""
    common = settings(deadline=None, database=None, suppress_health_check=SLOW)
    settings.register_profile("quick", common, max_examples=QUICK, derandomize=True)
    many = int(os.environ.get(FUZZ_VARIABLE, 10 * QUICK))
    # On a machine that sets CI, hypothesis derandomizes whatever does not say otherwise.
    fuzz = settings(common, max_examples=many, print_blob=True, derandomize=False)
    settings.register_profile("fuzz", fuzz)
    settings.load_profile("quick")


def times(factor: int) -> settings:
    """The settings of a property that draws so many times as many examples as others."""
    assert settings.default is not None
    return settings(max_examples=factor * settings.default.max_examples)
