"""The processes that a session's checks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributed.group import Group


@pytest.fixture(scope="session", params=[2, 4], ids=["2_processes", "4_processes"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """Two processes, and four."""
    with Group(request.param) as group:
        yield group


@pytest.fixture(scope="session")
def four() -> Iterator[Group]:
    """Four processes, for meshes of 2 x 2."""
    with Group(4) as group:
        yield group
