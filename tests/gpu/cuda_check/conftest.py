"""The host-executed kernels, built once for all checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gpu.cuda_check.host_worker import CSRC, Worker, build


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels of this checkout, compiled for the host under sanitizers."""
    return build(CSRC, tmp_path_factory.mktemp("host"))


class Restarting:
    """A worker, and a fresh one after it died."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._worker = Worker(program)

    def get(self) -> Worker:
        """One that runs."""
        if not self._worker.is_running():
            self._worker.close()
            self._worker = Worker(self._program)
        return self._worker

    def close(self) -> None:
        self._worker.close()


@pytest.fixture(scope="session")
def workers(program: Path) -> Iterator[Restarting]:
    restarting = Restarting(program)
    yield restarting
    restarting.close()


@pytest.fixture
def worker(workers: Restarting) -> Worker:
    """The running program."""
    return workers.get()
