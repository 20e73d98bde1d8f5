"""What differs for tests of other people's code from the tests of ours."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: the frameworks call operators that have no deterministic form."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks start from the same weights in every run."""
    torch.manual_seed(0)
