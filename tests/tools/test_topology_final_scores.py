"""Promise: what is scored suits the structures: blobs by their roundness too, tubes not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.topology.configuration import RunKey
from benchmarks.topology.final_scores import POST_PROCESSED, Column, columns
from benchmarks.topology.results import Results, read_results
from benchmarks.topology.structures import are_tubes
from benchmarks.topology.verdict import judge
from scnp_kernels.metrics import roundness_error
from tests.topology_data import predicted_runs

IMAGES = ("test/0", "test/1", "val/0")
ROUNDNESS = Column("roundness_error", 4)  # faces alone


def squares() -> np.ndarray:
    """Nine squares; two of them meet at a corner, and are two by faces alone."""
    label_map = np.zeros((64, 64), np.uint8)
    for row in (6, 26, 46):
        for column in (6, 26, 46):
            label_map[row : row + 10, column : column + 10] = 1
    label_map[36:44, 36:44] = 1
    return label_map


def results_of(folder: Path, truth: np.ndarray) -> tuple[Results, dict[str, np.ndarray]]:
    """Runs in which the joint one finds everything, the plain one halves of what there is."""
    half = truth.copy()
    half[:, 31:] = 0
    half[8:10] = 0
    found = {"off": half, "joint": truth}
    runs = {
        RunKey("ce_dice", mode, (1,) if mode == "off" else (3,), 0): {
            name: np.where(label_map == 1, 0.9, 0.1) for name in IMAGES
        }
        for mode, label_map in found.items()
    }
    predicted_runs(folder, dict.fromkeys(IMAGES, truth), runs, crop=[64, 64], iterations=10)
    return read_results(folder), found


def test_blobs_are_scored_by_their_roundness_too(tmp_path: Path) -> None:
    truth = squares()
    results, found = results_of(tmp_path / "squares", truth)
    assert not results.has_tubes
    assert ROUNDNESS in columns(results)
    (verdict,) = judge(results, (3,), 1)
    for method, versions in verdict.scores.items():
        expected = roundness_error(found[method.mode] == 1, truth == 1)
        assert versions["as predicted"][ROUNDNESS.name] == pytest.approx(expected)
        assert (versions["as predicted"][ROUNDNESS.name] > 0).all() == (method.mode == "off")
    compared = {c.column for c in verdict.secondary if c.version == POST_PROCESSED}
    assert ROUNDNESS in compared


def test_tubes_are_not(tmp_path: Path) -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[8:12], truth[40:44] = 1, 1
    results, _ = results_of(tmp_path / "lines", truth)
    assert results.has_tubes
    assert ROUNDNESS not in columns(results)
    assert {column.measure for column in columns(results)} == {
        "dice", "cldice", "betti0_error", "betti1_error", "betti_matching_error"
    }  # fmt: skip


def test_images_without_foreground_do_not_tell_what_structures_are() -> None:
    lines, empty = np.zeros((2, 64, 64), np.uint8)
    lines[8:12] = 1
    assert are_tubes([empty, lines])
    assert not are_tubes([squares(), empty])
