"""Promise: the tables of the docs are made from the files of the results, and none is edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.readme import NOTICE, replace_blocks
from benchmarks.demo.publish import main, publish
from benchmarks.kernels.program import PAGES, RESULTS
from benchmarks.kernels.results import stored_runs
from benchmarks.kernels.tables import blocks

SUMMARY = (
    "method,seed,dice,betti0_error,cldice,seconds\n"
    "Dice+CE,0,0.916454,4.5800,0.986964,144.30\n"
    "joint,mean,0.914272,2.4600,0.989161,86.05\n"
)
PAGE = "# Title\n<!-- benchmark:demo-bricks begin -->old<!-- benchmark:demo-bricks end -->\nend\n"


def test_publishes_files_and_table(tmp_path: Path) -> None:
    folder, results, page = tmp_path / "out", tmp_path / "results", tmp_path / "page.md"
    folder.mkdir()
    (folder / "summary.csv").write_text(SUMMARY)
    (folder / "scores.csv").write_text("scores")
    (folder / "picture.png").write_bytes(b"picture")
    page.write_text(PAGE)
    publish(folder, "bricks", results, page)
    assert sorted(file.name for file in results.iterdir()) == [
        "bricks-scores.csv",
        "bricks.csv",
        "bricks.png",
    ]
    assert (results / "bricks.png").read_bytes() == b"picture"
    text = page.read_text()
    assert "| Dice+CE | 0 | 0.9165 | 4.58 | 0.9870 |" in text
    assert "| **joint** | **mean** | **0.9143** | **2.46** | **0.9892** |" in text
    assert "old" not in text
    assert text.startswith("# Title\n")
    assert text.endswith("\nend\n")
    publish(folder, "bricks", results, page)
    assert page.read_text() == text


def test_a_folder_without_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "bricks"]) == 1
    assert "holds no summary.csv, scores.csv, picture.png; run the demo first" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_the_stored_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    of_page = blocks(stored_runs(RESULTS), page.parent)
    assert NOTICE in text
    assert any(f"<!-- benchmark:{name} begin -->" in text for name in of_page)
    assert replace_blocks(text, of_page) == text
