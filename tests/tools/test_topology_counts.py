"""Pieces and holes of predictions beside the truth's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.topology.configuration import RunKey
from benchmarks.topology.datasets import Labels
from tests.topology_data import command, predicted_runs, rows_of

OFF = [RunKey("ce_dice", "off", (1,), seed) for seed in (0, 1)]
ON = [RunKey("ce_dice", "on", (3,), seed) for seed in (0, 1)]


def ring(gap: bool = False, filled: bool = False) -> Labels:
    """A ring of 8 pixels a side in an image of 16; open at one place, or without its hole."""
    label_map = np.zeros((16, 16), np.uint8)
    label_map[4:12, 4:12] = 1
    if not filled:
        label_map[5:11, 5:11] = 0
    if gap:
        label_map[4, 6:8] = 0
    return label_map


def runs_of(folder: Path, seen: dict[RunKey, list[Labels]], truth: list[Labels]) -> None:
    """Runs that predicted these label maps, of test images 0, 1 and so on."""
    truths = {f"{split}/{i}": of for split in ("val", "test") for i, of in enumerate(truth)}
    predicted_runs(
        folder,
        truths,
        {
            key: {
                f"{split}/{i}": of.astype(np.float64)
                for split in ("val", "test")
                for i, of in enumerate(maps)
            }
            for key, maps in seen.items()
        },
    )


def test_what_breaks_and_what_is_filled_is_told(tmp_path: Path) -> None:
    broken, right, filled = ring(gap=True), ring(), ring(filled=True)
    twice = right.copy()
    twice[0, :4] = 1  # a false piece
    seen = {
        OFF[0]: [broken, twice],  # holes 0, 1; pieces 1, 2
        OFF[1]: [right, twice],  # holes 1, 1; pieces 1, 2
        ON[0]: [filled, filled],
        ON[1]: [right, filled],
    }
    runs_of(tmp_path / "rings", seen, [right, right])
    command("counts", tmp_path)
    truth, plain, scnp = rows_of(tmp_path / "rings" / "counts-test.csv")
    assert (truth["pieces"], truth["holes"], truth["pixels"]) == ("1.00", "1.00", "28")
    assert (plain["pieces"], plain["holes"]) == ("1.50", "0.75")
    assert (scnp["pieces"], scnp["holes"]) == ("1.00", "0.25")
    assert plain["pixels"] == f"{(26 + 28 + 2 * 32) / 4:.0f}"
    assert scnp["pixels"] == f"{(3 * 64 + 28) / 4:.0f}"
    assert (plain["seeds"], scnp["seeds"]) == ("2", "2")
    text = (tmp_path / "rings" / "counts-test.md").read_text()
    assert "By 8 neighbours" in text


def test_a_collapsed_training_is_in_no_mean(tmp_path: Path) -> None:
    nothing = np.zeros((16, 16), np.uint8)
    seen = {OFF[0]: [nothing], OFF[1]: [ring()], ON[0]: [nothing], ON[1]: [nothing]}
    runs_of(tmp_path / "rings", seen, [ring()])
    command("counts", tmp_path)
    _, plain, scnp = rows_of(tmp_path / "rings" / "counts-test.csv")
    assert (plain["pieces"], plain["seeds"]) == ("1.00", "1 of 2 seeds found nothing")
    assert (scnp["pieces"], scnp["holes"], scnp["pixels"]) == ("", "", "")
    assert scnp["seeds"] == "2 of 2 seeds found nothing"
    text = (tmp_path / "rings" / "counts-test.md").read_text()
    assert text.startswith("rings: 3 of 4 trainings collapsed")


@pytest.mark.parametrize("hollow", [False, True])
def test_tunnels_and_cavities_of_volumes(tmp_path: Path, hollow: bool) -> None:
    volume = np.zeros((8, 8, 8), np.uint8)
    volume[1:6, 1:6, 1:6] = 1
    if hollow:
        volume[3, 3, 3] = 0
    else:
        volume[:, 3, 3] = 0
    runs_of(tmp_path / "boxes", {OFF[0]: [volume]}, [volume])
    command("counts", tmp_path)
    truth, plain = rows_of(tmp_path / "boxes" / "counts-test.csv")
    expected = {"pieces": "1.00", "tunnels": f"{1 - hollow:.2f}", "cavities": f"{hollow:.2f}"}
    for row in (truth, plain):
        assert {name: row[name] for name in expected} == expected
        assert row["voxels"] == str(int(volume.sum()))
