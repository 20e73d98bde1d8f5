"""The profiles of the property tests are the same on a developer's machine and on a CI's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hypothesis_profiles import FUZZ_VARIABLE, QUICK

CHECKOUT = Path(__file__).parents[2]


def drawing(profile: str, variables: dict[str, str]) -> tuple[bool, int]:
    """Return whether every run of a profile draws the same examples, and how many."""
    program = (
        "from hypothesis import settings\n"
        "from tests import hypothesis_profiles\n"
        "hypothesis_profiles.register()\n"
        f"profile = settings.get_profile({profile!r})\n"
        "print(profile.derandomize, profile.max_examples)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    derandomized, examples = outcome.stdout.split()
    return derandomized == "True", int(examples)


@pytest.mark.parametrize("variables", [{}, {"CI": "true"}, {"GITHUB_ACTIONS": "true"}])
def test_profiles_do_not_depend_on_where_they_run(variables: dict[str, str]) -> None:
    """Hypothesis changes its own defaults where it finds one of CI's variables."""
    assert drawing("quick", variables) == (True, QUICK)
    assert drawing("fuzz", variables | {FUZZ_VARIABLE: "321"}) == (False, 321)
