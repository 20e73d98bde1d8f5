"""What surrounds every test of the kernels' benchmark, and one run of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kernels import inputs, peers, program
from tests.tools.kernel_benchmark.toys import OPTIONS, PAGE, TOYS


@pytest.fixture(autouse=True)
def uncompiled_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes longer than everything else here."""
    monkeypatch.setattr(peers, "compiled", lambda function, *_: function)
    monkeypatch.setattr(inputs, "MOST_BUFFERS", 2)


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: filling memory would itself be measured."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run of everything."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(peers, "compiled", lambda function, *_: function)
        monkeypatch.setattr(inputs, "MOST_BUFFERS", 2)
        monkeypatch.setattr(program, "QUICK", TOYS)
        (folder / "page.md").write_text(PAGE, encoding="utf-8")
        options = ["--quick", "--out", str(folder), "--readme", str(folder / "page.md"), *OPTIONS]
        assert program.main(options) == 0
    return folder
