"""What tests of the topology benchmark share, and what takes long to make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.topology import postprocessing
from tests.topology_data import REFEREES_OPTIONS, command, write_referees_case


@pytest.fixture(scope="module")
def few_candidates() -> Iterator[None]:
    """Eight, to save time: what the search finds among all of them has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocessing, "CUTS", ((0.5, 0.5), (0.3, 0.3)))
        patch.setattr(postprocessing, "RADII", (0, 1))
        patch.setattr(postprocessing, "SMALLEST", (0, 32))
        yield


@pytest.fixture(scope="module")
def judged_case(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The --out of a verdict on runs that are all stored: none is trained; --data beside it."""
    request.getfixturevalue("few_candidates")
    data, out = write_referees_case(tmp_path_factory.mktemp("case"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.topology.runner._run_pool", lambda *_: pytest.fail("trains"))
        command("verdict", "--data", data, "--out", out, *REFEREES_OPTIONS)
    return out
