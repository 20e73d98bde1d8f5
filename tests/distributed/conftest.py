"""The processes that a session's checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.distributed.group import Group

GroupOf = Callable[[int], Group]


@pytest.fixture(scope="session")
def group_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GroupOf]:
    """The one group of a size; its processes start when a check needs them."""
    with ExitStack() as stack:
        groups: dict[int, Group] = {}

        def of(size: int) -> Group:
            if size not in groups:
                groups[size] = stack.enter_context(Group(size, tmp_path_factory.mktemp("group")))
            return groups[size]

        yield of


@pytest.fixture(scope="session", params=[2, 4], ids=["2_processes", "4_processes"])
def group(request: pytest.FixtureRequest, group_of: GroupOf) -> Group:
    """Two processes, and four."""
    return group_of(request.param)


@pytest.fixture(scope="session")
def two(group_of: GroupOf) -> Group:
    """Two processes, for what more of them would only repeat."""
    return group_of(2)


@pytest.fixture(scope="session")
def four(group_of: GroupOf) -> Group:
    """Four processes, for meshes of 2 x 2."""
    return group_of(4)
