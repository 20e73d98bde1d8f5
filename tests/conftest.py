"""Which backends are tested, and what surrounds every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from scnp_kernels.backends.native import loader as native
from tests import hypothesis_profiles

# Every backend that must run on a machine with nothing but a CPU. A test never asks whether one
# is there: where it is missing, the tests fail and say why.
BACKENDS = ("cpu", "reference")

hypothesis_profiles.register()


def pytest_report_header() -> str:
    """Which build is under test."""
    reason = native.load()
    build = native.build_record() or {}
    return f"scnp_kernels: cpu backend {'ok' if reason is None else reason}, {build}"


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """A backend's name. Of session scope, so that hypothesis may use it."""
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill fresh memory, of C++ as of Python: NaN in floats, the largest integer elsewhere.

    An element of a result that nobody writes then differs from every expectation. Torch does so
    in its deterministic mode, and only there. A test module that cannot run in it overrides this
    fixture with one of its own.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(before, warn_only=warn_only)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests start with one thread, since waking a pool costs more than a small image.

    Those of several threads set their number themselves; it is restored here.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
